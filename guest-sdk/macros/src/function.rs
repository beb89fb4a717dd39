//! The function under an attribute: what every task and every workflow must look like.

use crate::arguments::check_name;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, Meta, PatType, Result, Type};

/// A checked function, and the attributes that belong to the item that replaces it.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) docs: Vec<Attribute>,
    /// The type after the arrow.
    pub(crate) returned: Type,
}

impl Function {
    /// Reads the item under `attribute`; `result` is what it must return.
    pub(crate) fn parse(item: TokenStream, attribute: &str, result: &str) -> Result<Self> {
        let start = item.clone();
        let mut item: ItemFn = syn::parse2(item).map_err(|_| {
            Error::new_spanned(start, format!("`{attribute}` goes on an async fn with a body"))
        })?;
        let signature = &item.sig;
        let name = &signature.ident;
        if signature.asyncness.is_none() {
            let message = format!("make it async: `async fn {name}(…)`");
            return Err(Error::new_spanned(signature.fn_token, message));
        }
        if !signature.generics.params.is_empty() {
            let message = format!("`{attribute}` needs concrete types; remove the generics");
            return Err(Error::new_spanned(&signature.generics, message));
        }
        if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
            let message = format!("`{attribute}` goes on a free function; take an input, not self");
            return Err(Error::new_spanned(receiver, message));
        }
        if signature.unsafety.is_some() || signature.abi.is_some() {
            let message =
                format!("`{attribute}` goes on a plain async fn, without unsafe or extern");
            return Err(Error::new_spanned(signature.fn_token, message));
        }
        let syn::ReturnType::Type(_, returned) = &signature.output else {
            let message = format!("return `{result}<…>`: `async fn {name}(…) -> {result}<()>`");
            return Err(Error::new_spanned(signature, message));
        };
        let returned = (**returned).clone();
        let (docs, others) =
            item.attrs.drain(..).partition(|attribute| attribute.path().is_ident("doc"));
        item.attrs = others;
        Ok(Self { item, docs, returned })
    }

    /// The arguments; none of them is `self`.
    pub(crate) fn inputs(&self) -> Vec<&PatType> {
        let inputs = self.item.sig.inputs.iter();
        inputs
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(typed),
                FnArg::Receiver(_) => None,
            })
            .collect()
    }

    /// The name by default: the fn's own with dashes.
    pub(crate) fn default_name(&self) -> Result<String> {
        let ident = &self.item.sig.ident;
        let name = ident.to_string().trim_start_matches("r#").replace('_', "-");
        check_name(&name, ident.span(), "name")?;
        Ok(name)
    }

    /// The doc comment as one text.
    pub(crate) fn description(&self) -> String {
        let lines = self.docs.iter().filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(doc) => match &doc.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        });
        let lines: Vec<String> = lines
            .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
            .collect();
        lines.join("\n").trim().to_owned()
    }

    /// An error about the arguments as a whole.
    pub(crate) fn inputs_error(&self, message: &str) -> Error {
        if self.item.sig.inputs.is_empty() {
            return Error::new(self.item.sig.ident.span(), message);
        }
        Error::new(self.item.sig.inputs.to_token_stream().span(), message)
    }
}

/// Whether the type is written as `name`, with or without a path before it.
pub(crate) fn is_called(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == name))
}

/// A reference cannot outlive the call, so an input is always taken by value.
pub(crate) fn refuse_reference(input: &PatType) -> Result<()> {
    if let Type::Reference(reference) = &*input.ty {
        let owned = match reference.elem.to_token_stream().to_string().as_str() {
            "str" => "String".to_owned(),
            other => other.to_owned(),
        };
        let message = format!("take it by value, as it comes from JSON: `{owned}`");
        return Err(Error::new_spanned(&input.ty, message));
    }
    Ok(())
}
