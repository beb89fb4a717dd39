//! `#[payload]`: the three derives that an input or output needs, by way of the SDK's own serde
//! and schemars.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Item, Result};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        let message = "`#[payload]` takes nothing; use `#[serde(…)]` below it";
        return Err(Error::new_spanned(arguments, message));
    }
    match syn::parse2(item.clone()) {
        Ok(Item::Struct(_) | Item::Enum(_)) => Ok(quote! {
            #[derive(
                ::everstep_sdk::serde::Serialize,
                ::everstep_sdk::serde::Deserialize,
                ::everstep_sdk::schemars::JsonSchema,
            )]
            #[serde(crate = "::everstep_sdk::serde")]
            #[schemars(crate = "::everstep_sdk::schemars")]
            #item
        }),
        _ => Err(Error::new_spanned(item, "`#[payload]` goes on a struct or an enum")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_data_can_be_a_payload() {
        assert!(
            expand(
                quote!(),
                quote!(
                    struct A;
                )
            )
            .is_ok()
        );
        let error = expand(
            quote!(),
            quote!(
                fn a() {}
            ),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("struct or an enum"), "{error}");
        let error = expand(
            quote!(x),
            quote!(
                struct A;
            ),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("takes nothing"), "{error}");
    }
}
