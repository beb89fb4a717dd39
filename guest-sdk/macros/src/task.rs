//! `#[task]`: from an async fn to a function that stands for its definition (`everstep_sdk::TaskDefinition`).

use crate::arguments::{Arguments, optional, with_units};
use crate::function::{Function, is_called, refuse_reference};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Result, Type};

const KNOWN: &[&str] = &[
    "name",
    "retry",
    "attempt_timeout",
    "total_timeout",
    "heartbeat_timeout",
    "concurrency",
    "rate",
    "hosts",
    "secrets",
];

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments, "#[task]", KNOWN)?;
    let mut function = Function::parse(item, "#[task]", "TaskResult")?;
    let (input, pass) = inputs(&function)?;
    let name = match &arguments.name {
        Some(name) => name.value(),
        None => function.default_name()?,
    };
    let description = function.description();
    let retry = optional(arguments.retry.as_ref());
    let attempt_timeout = optional(arguments.attempt_timeout.as_ref());
    let total_timeout = optional(arguments.total_timeout.as_ref());
    let heartbeat_timeout = optional(arguments.heartbeat_timeout.as_ref());
    let concurrency = optional(arguments.concurrency.as_ref());
    let rate = optional(arguments.rate.as_ref());
    let (hosts, secrets) = (&arguments.hosts, &arguments.secrets);
    let settings = with_units(&quote! {
        ::everstep_sdk::TaskSettings {
            description: #description,
            options: ::everstep_sdk::TaskOptions {
                retry: #retry,
                attempt_timeout: #attempt_timeout,
                total_timeout: #total_timeout,
            },
            hosts: ::std::vec![#(::std::string::String::from(#hosts)),*],
            secrets: ::std::vec![#(::std::string::String::from(#secrets)),*],
            heartbeat_timeout: #heartbeat_timeout,
            concurrency: #concurrency,
            rate: #rate,
        }
    });
    let ident = function.item.sig.ident.clone();
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
        ) -> impl ::everstep_sdk::TaskDefinition<Input = #input, Output = #output> {
            #item

            {
                struct __Definition;

                impl ::everstep_sdk::TaskDefinition for __Definition {
                    type Input = #input;
                    type Output = #output;
                    const NAME: &'static str = #name;

                    fn settings() -> ::everstep_sdk::TaskSettings #settings

                    async fn execute(
                        context: ::everstep_sdk::TaskContext,
                        input: Self::Input,
                    ) -> ::everstep_sdk::TaskResult<Self::Output> {
                        let _ = (&context, &input);
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
    let mut input = None;
    let mut pass = Vec::new();
    let mut context = false;
    for argument in function.inputs() {
        refuse_reference(argument)?;
        if is_called(&argument.ty, "TaskContext") && !context {
            context = true;
            pass.push(quote!(context));
        } else if input.is_none() {
            input = Some((*argument.ty).clone());
            pass.push(quote!(input));
        } else {
            let message = "a task takes one input, and a `TaskContext` beside it if it wants; put \
                           several values into a struct with `#[payload]`, or a tuple";
            return Err(function.inputs_error(message));
        }
    }
    Ok((input.unwrap_or_else(|| syn::parse_quote!(())), pass))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).unwrap_err().to_string()
    }

    fn plain() -> TokenStream {
        quote!(
            async fn pay(input: u32) -> TaskResult<()> {
                Ok(())
            }
        )
    }

    #[test]
    fn a_full_task_expands() {
        let arguments = quote!(
            name = "p",
            retry = exponential(max_attempts = 5, initial = secs(1)),
            attempt_timeout = LIMIT,
            hosts = ["a.example:*", OTHER],
        );
        let item = quote!(
            /// Takes the money.
            #[cold]
            pub(crate) async fn pay(input: u32, context: everstep_sdk::TaskContext) -> R {
                Ok(())
            }
        );
        let code = expand(arguments, item).unwrap().to_string();
        for part in [
            "pub (crate) fn pay",
            "type Input = u32",
            "pay_body (input , context)",
            "\"Takes the money.\"",
            "# [cold] async fn pay_body",
        ] {
            assert!(code.contains(part), "{part} in {code}");
        }
        assert!(expand(quote!(retry = never), plain()).is_ok());
        assert!(expand(quote!(retry = fixed), plain()).is_ok());
    }

    #[test]
    fn names_have_dashes_by_default() {
        let item = quote!(
            async fn send_the_email() -> TaskResult<()> {}
        );
        let code = expand(quote!(), item).unwrap().to_string();
        assert!(code.contains("\"send-the-email\"") && code.contains("type Input = ()"), "{code}");
    }

    #[test]
    fn wrong_functions_are_refused_with_the_fix() {
        let sync = quote!(
            fn pay() -> TaskResult<()> {}
        );
        assert_eq!(error(quote!(), sync), "make it async: `async fn pay(…)`");
        let nothing = quote!(
            async fn pay() {}
        );
        assert!(error(quote!(), nothing).contains("-> TaskResult<()>"));
        let many = quote!(
            async fn pay(a: u32, b: u32) -> TaskResult<()> {}
        );
        assert!(error(quote!(), many).contains("takes one input"));
        let borrowed = quote!(
            async fn pay(a: &str) -> TaskResult<()> {}
        );
        assert!(
            error(quote!(), borrowed).contains("take it by value, as it comes from JSON: `String`")
        );
        let generic = quote!(
            async fn pay<T>(a: T) -> TaskResult<()> {}
        );
        assert!(error(quote!(), generic).contains("remove the generics"));
        let method = quote!(
            async fn pay(&self) -> TaskResult<()> {}
        );
        assert!(error(quote!(), method).contains("free function"));
        let item = quote!(
            struct Pay;
        );
        assert!(error(quote!(), item).contains("goes on an async fn"));
    }

    #[test]
    fn wrong_arguments_are_refused_with_the_fix() {
        for (arguments, part) in [
            (quote!(nam = "x"), "does not know `nam`; it takes `name`, `retry`"),
            (quote!(version = "1"), "does not know `version`"),
            (quote!(name = pay), "write the name as text"),
            (quote!(name = ""), "1 to 256 bytes"),
            (quote!(name), "write `name = …`"),
            (quote!(name = "a", name = "b"), "given twice"),
            (quote!(attempt_timeout = 30), "`secs(30)`"),
            (quote!(retry = sometimes), "retry is `never`"),
            (quote!(retry = 3), "retry is `never`"),
            (quote!(retry = fixed(max_attempts = 0)), "at least 1"),
            (quote!(retry = fixed(delay = 5)), "`secs(5)`"),
            (quote!(retry = fixed(initial = secs(5))), "retry is `never`"),
            (quote!(hosts = "a.example"), "as a list"),
            (quote!(hosts = ["http://a.example/"]), "not a URL"),
        ] {
            let text = error(arguments.clone(), plain());
            assert!(text.contains(part), "{arguments}: {text}");
        }
    }
}
