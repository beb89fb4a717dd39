//! The attribute macros of `everstep-sdk`, which re-exports them; see there for how to use them.
//!
//! Each attribute has a file: it reads its arguments ([`arguments`]), checks the function
//! ([`function`]), and writes the code. Whatever is used wrongly becomes a compile error at the
//! place of the mistake, and the text of the error names the fix.

mod arguments;
mod function;
mod key;
mod payload;
mod task;
mod workflow;

use proc_macro::TokenStream;

/// Makes a task of an async fn.
///
/// ```ignore
/// /// Becomes the task's description.
/// #[task(
///     name = "send-email",                       // default: the fn's name with `_` as `-`
///     retry = exponential(max_attempts = 5, initial = secs(1), factor = 2.0,
///                         max_delay = minutes(1), jitter = true),
///     // or: retry = fixed(max_attempts = 3, delay = secs(5)), retry = never
///     attempt_timeout = secs(30),
///     total_timeout = hours(1),
///     heartbeat_timeout = secs(10),              // fail an attempt that is silent for longer
///     concurrency = 5,                           // attempts that a host executes at once
///     rate = per_second(10),                     // or per_minute(…), per_hour(…)
///     secrets = ["MAIL_TOKEN"],                  // what it may ask the server for
///     hosts = ["api.example.com", "127.0.0.1:*"], // what it may reach by HTTP
/// )]
/// async fn send_email(context: TaskContext, input: Email) -> TaskResult<()> { … }
/// ```
///
/// The arguments are optional, and so are `context` (the attempt, the idempotency token) and
/// `input`. The name of the fn has the methods of the `Task` trait: `send_email.start(&run, input)`,
/// `call`, `retry`, `options` …
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a workflow of an async fn.
///
/// ```ignore
/// /// Becomes the workflow's description.
/// #[workflow(
///     version = "1.0",                  // required
///     name = "user-onboarding",         // default: the fn's name with `_` as `-`
///     retry = fixed(max_attempts = 2),  // of the whole run; default: never
///     timeout = days(30),               // of the whole run; default: none
///     events(verified = Verified),      // the events that it takes, with the types of their data
///     key = "user-${email}",            // idempotency key of starts that bring none; default: none
/// )]
/// async fn onboarding(run: Run, input: Signup) -> WorkflowResult<Onboarded> { … }
/// ```
///
/// `input` is optional. List the workflow in `everstep_sdk::module!`.
#[proc_macro_attribute]
pub fn workflow(arguments: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct or an enum fit for the input or output of tasks and workflows: derives
/// `Serialize`, `Deserialize` and `JsonSchema`, without serde or schemars among the dependencies
/// of the crate. The attributes `#[serde(…)]` and `#[schemars(…)]` work as usual.
#[proc_macro_attribute]
pub fn payload(arguments: TokenStream, item: TokenStream) -> TokenStream {
    payload::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
