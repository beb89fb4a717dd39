//! `#[workflow]`: from an async fn to a function that stands for its definition (`everstep_sdk::WorkflowDefinition`).

use crate::arguments::{Arguments, optional, with_units};
use crate::function::{Function, is_called, refuse_reference};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Result, Type};

const KNOWN: &[&str] = &["name", "version", "key", "retry", "timeout", "events"];

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments, "#[workflow]", KNOWN)?;
    let mut function = Function::parse(item, "#[workflow]", "WorkflowResult")?;
    let (input, pass) = inputs(&function)?;
    let ident = function.item.sig.ident.clone();
    let Some(version) = &arguments.version else {
        let message = "a workflow needs a version: `#[workflow(version = \"1.0\")]`; runs keep \
                       the code of the version that they began with";
        return Err(Error::new(ident.span(), message));
    };
    let name = match &arguments.name {
        Some(name) => name.value(),
        None => function.default_name()?,
    };
    let description = function.description();
    let retry = optional(arguments.retry.as_ref());
    let timeout = optional(arguments.timeout.as_ref());
    let (event_names, event_types): (Vec<_>, Vec<_>) = arguments.events.into_iter().unzip();
    let key = optional(arguments.key.as_ref());
    let settings = with_units(&quote! {
        ::everstep_sdk::WorkflowSettings {
            description: #description,
            retry: #retry,
            timeout: #timeout,
            events: ::std::vec![#((
                ::core::stringify!(#event_names),
                ::everstep_sdk::manifest::taken::<#event_types>(),
            )),*],
            key: #key,
        }
    });
    let body = format_ident!("{}_body", ident);
    function.item.sig.ident = body.clone();
    let visibility = std::mem::replace(&mut function.item.vis, syn::Visibility::Inherited);
    let Function { item, docs, returned } = &function;
    let output =
        quote_spanned!(returned.span()=> <#returned as ::everstep_sdk::module::Returned>::Output);
    // A function and not a struct or a constant, so that a variable may have the same name. The
    // definition has a block of its own, where the author's code cannot meet its name.
    Ok(quote! {
        #(#docs)*
        #visibility fn #ident(
            _: ::everstep_sdk::module::StartInsteadOfCalling,
        ) -> impl ::everstep_sdk::WorkflowDefinition<Input = #input, Output = #output> {
            #item

            {
                struct __Definition;

                impl ::everstep_sdk::WorkflowDefinition for __Definition {
                    type Input = #input;
                    type Output = #output;
                    const NAME: &'static str = #name;
                    const VERSION: &'static str = #version;

                    fn settings() -> ::everstep_sdk::WorkflowSettings #settings

                    async fn execute(
                        run: ::everstep_sdk::Run,
                        input: Self::Input,
                    ) -> ::everstep_sdk::WorkflowResult<Self::Output> {
                        let _ = &input;
                        #body(#(#pass),*).await
                    }
                }

                __Definition
            }
        }
    })
}

/// The type of the input, and the arguments to call the function with.
fn inputs(function: &Function) -> Result<(Type, Vec<TokenStream>)> {
    let inputs = function.inputs();
    let is_run = |ty: &Type| match ty {
        Type::Reference(reference) => is_called(&reference.elem, "Run"),
        ty => is_called(ty, "Run"),
    };
    let ident = &function.item.sig.ident;
    let message = format!(
        "a workflow takes its run and one input: `async fn {ident}(run: Run, input: …)`; put \
         several values into a struct with `#[payload]`"
    );
    if inputs.is_empty() || inputs.len() > 2 || !is_run(&inputs[0].ty) {
        return Err(function.inputs_error(&message));
    }
    inputs.iter().try_for_each(|input| refuse_reference(input))?;
    Ok(match inputs.get(1) {
        Some(input) => ((*input.ty).clone(), vec![quote!(run), quote!(input)]),
        None => (syn::parse_quote!(()), vec![quote!(run)]),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).unwrap_err().to_string()
    }

    #[test]
    fn a_full_workflow_expands() {
        let arguments = quote!(
            version = "1.0",
            key = "${id}",
            retry = fixed(max_attempts = 2),
            timeout = days(30)
        );
        let item = quote!(
            async fn user_onboarding(run: Run, (a, b): (u8, u8)) -> WorkflowResult<()> {}
        );
        let code = expand(arguments, item).unwrap().to_string();
        for part in [
            "const NAME : & 'static str = \"user-onboarding\"",
            "const VERSION : & 'static str = \"1.0\"",
            "key : :: core :: option :: Option :: Some (\"${id}\")",
            "type Input = (u8 , u8)",
            "user_onboarding_body (run , input)",
        ] {
            assert!(code.contains(part), "{part} in {code}");
        }
    }

    #[test]
    fn wrong_use_is_refused_with_the_fix() {
        let version = quote!(version = "1");
        let good = quote!(
            async fn w(run: Run) -> WorkflowResult<()> {}
        );
        assert!(expand(version.clone(), good.clone()).is_ok());
        assert!(error(quote!(), good.clone()).contains("needs a version"));
        assert!(error(quote!(hosts = []), good.clone()).contains("does not know `hosts`"));
        assert!(
            error(quote!(version = "1", key = 7), good.clone()).contains("write the key as text")
        );
        assert!(error(quote!(version = "1", key = "order"), good).contains("no placeholder"));
        for (item, part) in [
            (
                quote!(
                    fn w(run: Run) -> R {}
                ),
                "make it async: `async fn w(…)`",
            ),
            (
                quote!(
                    async fn w(run: Run) {}
                ),
                "-> WorkflowResult<()>",
            ),
            (
                quote!(
                    async fn w() -> R {}
                ),
                "`async fn w(run: Run, input: …)`",
            ),
            (
                quote!(
                    async fn w(input: u8, run: Run) -> R {}
                ),
                "takes its run and one input",
            ),
            (
                quote!(
                    async fn w(run: Run, a: u8, b: u8) -> R {}
                ),
                "takes its run and one input",
            ),
            (
                quote!(
                    async fn w(run: &Run) -> R {}
                ),
                "take it by value",
            ),
        ] {
            let text = error(version.clone(), item.clone());
            assert!(text.contains(part), "{item}: {text}");
        }
    }
}
