//! The Rust side of `wit/`, generated. Only the rest of this crate and the expansion of
//! [`module!`](crate::module!) use it; nothing here is for authors.

#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "wit",
    world: "module",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_module",
    default_bindings_module: "everstep_sdk::bindings",
});
