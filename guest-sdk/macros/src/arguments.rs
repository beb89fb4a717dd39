//! The arguments of `#[task(…)]` and `#[workflow(…)]`: `name = …, retry = exponential(…), …`.
//! What can be checked without types is checked here, so that the message fits the mistake.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Expr, ExprArray, ExprLit, Ident, Lit, LitStr, Result, Token};

/// The longest name that a host accepts, in bytes.
const MAX_NAME: usize = 256;

/// What was said between the parentheses of an attribute.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    /// A template that has been checked.
    pub(crate) key: Option<LitStr>,
    /// An expression of type `RetryPolicy`.
    pub(crate) retry: Option<TokenStream>,
    /// Expressions of type `Duration`.
    pub(crate) timeout: Option<Expr>,
    pub(crate) attempt_timeout: Option<Expr>,
    pub(crate) total_timeout: Option<Expr>,
    pub(crate) hosts: Vec<Expr>,
    pub(crate) secrets: Vec<Expr>,
    pub(crate) heartbeat_timeout: Option<Expr>,
    pub(crate) concurrency: Option<Expr>,
    /// An expression of type `Rate`.
    pub(crate) rate: Option<TokenStream>,
    /// Names of events with the types of their data.
    pub(crate) events: Vec<(Ident, syn::Type)>,
}

impl Arguments {
    /// Reads the arguments of the attribute `attribute`, which knows those named in `known`.
    pub(crate) fn parse(tokens: TokenStream, attribute: &str, known: &[&str]) -> Result<Self> {
        let read = |input: ParseStream<'_>| {
            let mut arguments = Self::default();
            let mut seen = Vec::new();
            while !input.is_empty() {
                let key: Ident = input.parse()?;
                let text = key.to_string();
                if !known.contains(&text.as_str()) {
                    let known = known.join("`, `");
                    let message =
                        format!("`{attribute}` does not know `{key}`; it takes `{known}`");
                    return Err(Error::new(key.span(), message));
                }
                if seen.contains(&text) {
                    return Err(Error::new(key.span(), format!("`{key}` is given twice")));
                }
                if text == "events" {
                    arguments.events = events(&key, input)?;
                    seen.push(text);
                    if !input.is_empty() {
                        input.parse::<Token![,]>()?;
                    }
                    continue;
                }
                if !input.peek(Token![=]) {
                    return Err(Error::new(key.span(), format!("write `{key} = …`")));
                }
                input.parse::<Token![=]>()?;
                arguments.read(&key, input)?;
                seen.push(text);
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(arguments)
        };
        read.parse2(tokens)
    }

    fn read(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        match key.to_string().as_str() {
            "name" => self.name = Some(name(key, input)?),
            "key" => self.key = Some(key_template(input)?),
            "version" => self.version = Some(name(key, input)?),
            "retry" => self.retry = Some(retry(input)?),
            "timeout" => self.timeout = Some(duration(input)?),
            "attempt_timeout" => self.attempt_timeout = Some(duration(input)?),
            "total_timeout" => self.total_timeout = Some(duration(input)?),
            "heartbeat_timeout" => self.heartbeat_timeout = Some(duration(input)?),
            "concurrency" => self.concurrency = Some(input.parse()?),
            "rate" => self.rate = Some(rate(input)?),
            "secrets" => self.secrets = secrets(input)?,
            _ => self.hosts = hosts(input)?,
        }
        Ok(())
    }
}

fn name(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let text: LitStr = input.parse().map_err(|error| {
        Error::new(error.span(), format!("write the {key} as text: `{key} = \"…\"`"))
    })?;
    check_name(&text.value(), text.span(), &key.to_string())?;
    Ok(text)
}

fn key_template(input: ParseStream<'_>) -> Result<LitStr> {
    let text: LitStr = input.parse().map_err(|error| {
        Error::new(error.span(), "write the key as text: `key = \"order-${id}\"`")
    })?;
    crate::key::check(&text.value(), text.span())?;
    Ok(text)
}

pub(crate) fn check_name(name: &str, span: proc_macro2::Span, what: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("a {what} has 1 to {MAX_NAME} bytes and no control characters");
        return Err(Error::new(span, message));
    }
    Ok(())
}

fn duration(input: ParseStream<'_>) -> Result<Expr> {
    let expression: Expr = input.parse()?;
    if let Expr::Lit(ExprLit { lit: Lit::Int(_) | Lit::Float(_), .. }) = &expression {
        let number = expression.to_token_stream();
        let message = format!("a duration needs its unit: `secs({number})`, `minutes({number})` …");
        return Err(Error::new_spanned(expression, message));
    }
    Ok(expression)
}

fn hosts(input: ParseStream<'_>) -> Result<Vec<Expr>> {
    let list: ExprArray = input.parse().map_err(|error| {
        Error::new(error.span(), "write the hosts as a list: `hosts = [\"api.example.com\"]`")
    })?;
    for host in &list.elems {
        if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = host {
            let text = text.value();
            if text.is_empty() || text.contains(['/', '@', ' ']) {
                let message = "a host is a name with or without a port, not a URL: \
                               `api.example.com`, `127.0.0.1:8080`, or `127.0.0.1:*` for any port";
                return Err(Error::new_spanned(host, message));
            }
        }
    }
    Ok(list.elems.into_iter().collect())
}

fn secrets(input: ParseStream<'_>) -> Result<Vec<Expr>> {
    let list: ExprArray = input.parse().map_err(|error| {
        Error::new(error.span(), "write the secrets as a list: `secrets = [\"API_TOKEN\"]`")
    })?;
    Ok(list.elems.into_iter().collect())
}

/// `events(approved = Approval, paid = Payment)`
fn events(key: &Ident, input: ParseStream<'_>) -> Result<Vec<(Ident, syn::Type)>> {
    let form = "write the events with the types of their data: `events(approved = Approval)`";
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(key.span(), form));
    }
    let content;
    syn::parenthesized!(content in input);
    let mut events = Vec::new();
    while !content.is_empty() {
        let name: Ident = content.parse().map_err(|error| Error::new(error.span(), form))?;
        content.parse::<Token![=]>().map_err(|error| Error::new(error.span(), form))?;
        events.push((name, content.parse()?));
        if !content.is_empty() {
            content.parse::<Token![,]>()?;
        }
    }
    Ok(events)
}

/// `per_second(10)`, as an expression that builds a rate.
fn rate(input: ParseStream<'_>) -> Result<TokenStream> {
    const FORMS: &str = "rate is `per_second(10)`, `per_minute(10)` or `per_hour(10)`";
    let kind: Ident = input.parse().map_err(|error: Error| Error::new(error.span(), FORMS))?;
    let per = match kind.to_string().as_str() {
        "per_second" => quote!(secs(1)),
        "per_minute" => quote!(minutes(1)),
        "per_hour" => quote!(hours(1)),
        _ => return Err(Error::new(kind.span(), FORMS)),
    };
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(kind.span(), FORMS));
    }
    let content;
    syn::parenthesized!(content in input);
    let tasks: Expr = content.parse()?;
    Ok(quote!(::everstep_sdk::Rate { tasks: #tasks, per: #per }))
}

const RETRY_FORMS: &str = "retry is `never`, `fixed(max_attempts = 3, delay = secs(5))` or \
    `exponential(max_attempts = 5, initial = secs(1), factor = 2.0, max_delay = minutes(1), \
    jitter = true)`; what is left out has a default";

/// A retry policy, as an expression that builds it.
fn retry(input: ParseStream<'_>) -> Result<TokenStream> {
    let kind: Ident =
        input.parse().map_err(|error: Error| Error::new(error.span(), RETRY_FORMS))?;
    let (variant, known): (_, &[&str]) = match kind.to_string().as_str() {
        "never" => return Ok(quote!(::everstep_sdk::RetryPolicy::Never)),
        "fixed" => ("Fixed", &["max_attempts", "delay"]),
        "exponential" => {
            ("Exponential", &["max_attempts", "initial", "factor", "max_delay", "jitter"])
        }
        _ => return Err(Error::new(kind.span(), RETRY_FORMS)),
    };
    let mut fields = Vec::new();
    if input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in input);
        for field in content.parse_terminated(Setting::parse, Token![,])? {
            let name = field.name.to_string();
            if !known.contains(&name.as_str()) {
                return Err(Error::new(field.name.span(), RETRY_FORMS));
            }
            fields.push(field);
        }
    }
    let variant = Ident::new(variant, kind.span());
    let settings = fields.iter().map(|Setting { name, value }| quote!(#name: #value,));
    // With every field given, the rest of the defaults is superfluous but not wrong.
    Ok(quote! {
        ::everstep_sdk::RetryPolicy::#variant({
            #[allow(clippy::needless_update)]
            let policy = ::everstep_sdk::#variant {
                #(#settings)*
                ..::core::default::Default::default()
            };
            policy
        })
    })
}

/// `max_attempts = 5`
struct Setting {
    name: Ident,
    value: Expr,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let value = match name.to_string().as_str() {
            "initial" | "delay" | "max_delay" => duration(input)?,
            "max_attempts" => {
                let value: Expr = input.parse()?;
                if value.to_token_stream().to_string() == "0" {
                    let message = "max_attempts counts the first attempt, too, so it is at least 1";
                    return Err(Error::new_spanned(value, message));
                }
                value
            }
            _ => input.parse()?,
        };
        Ok(Self { name, value })
    }
}

/// Code in which the durations of the arguments can be written without an import.
pub(crate) fn with_units(code: &TokenStream) -> TokenStream {
    quote! {{
        #[allow(unused_imports)]
        use ::everstep_sdk::time::{days, hours, millis, minutes, secs};
        #code
    }}
}

/// `Some(value)` or `None`, as code.
pub(crate) fn optional<T: ToTokens>(value: Option<&T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
