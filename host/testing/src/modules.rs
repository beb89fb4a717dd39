//! The modules of a world, and the checks that a server makes before it accepts what comes from
//! outside. Invariant: what is refused here is refused with the same code by a server.

use everstep_core::manifest::WorkflowDefinition;
use everstep_core::{Digest, Failure, Payload, Refusal};
use everstep_engine::{Engine, EngineOptions, Module};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The most violations of a schema that one message names.
const MAX_VIOLATIONS: usize = 5;

/// A request that a server would refuse.
#[derive(Debug)]
pub(crate) struct Refused {
    code: &'static str,
    message: String,
}

impl Refused {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// What a workflow is told whose message was refused.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(refused.code, refused.message).not_retryable()
    }
}

/// The modules, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Modules(Vec<Arc<Module>>);

impl Modules {
    /// Compiles a component, or takes what was compiled before.
    pub(crate) fn add(&mut self, path: &Path) {
        let bytes = std::fs::read(path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        let digest = Digest::of(&bytes);
        let loaded = engine(path).load::<std::convert::Infallible>(&digest, || Ok(bytes));
        match loaded {
            Ok(module) => self.0.push(module),
            Err(error) => panic!("{} is not a module: {error}", path.display()),
        }
    }

    pub(crate) fn get(&self, digest: Digest) -> Arc<Module> {
        let found = self.0.iter().find(|module| module.digest() == digest);
        Arc::clone(found.unwrap_or_else(|| panic!("this world has no module {digest}")))
    }

    /// The version of a workflow that has this name, or the newest one: the one added last.
    pub(crate) fn find(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<(Digest, &WorkflowDefinition), Refused> {
        let all = || {
            self.0.iter().flat_map(|module| {
                module.manifest().workflows.iter().map(|it| (module.digest(), it))
            })
        };
        let named = || all().filter(|(_, it)| it.name == workflow);
        let wanted = |it: &WorkflowDefinition| version.is_none_or(|v| v == it.version);
        if let Some(newest) = named().rfind(|(_, it)| wanted(it)) {
            return Ok(newest);
        }
        let is_known = named().next().is_some();
        let code = if is_known { "run.unknown_version" } else { "run.unknown_workflow" };
        let version = version.map_or_else(String::new, |version| format!(" version `{version}`"));
        let known: Vec<_> = all().map(|(_, it)| format!("`{}` {}", it.name, it.version)).collect();
        let message =
            format!("there is no workflow `{workflow}`{version}, only {}", known.join(", "));
        Err(Refused::new(code, message))
    }

    /// Panics unless a module lists the task.
    pub(crate) fn expect_task(&self, name: &str) {
        let tasks = || self.0.iter().flat_map(|module| &module.manifest().tasks);
        if !tasks().any(|task| task.name == name) {
            let known: Vec<&str> = tasks().map(|task| task.name.as_str()).collect();
            panic!("no module has a task `{name}`; there are: {}", known.join(", "));
        }
    }
}

/// One sandbox for all worlds of a process, because it reserves much address space. Compiled code
/// is kept beside the first component, where the next test process finds it.
fn engine(component: &Path) -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let beside = component.parent().unwrap_or(Path::new("."));
        let cache_dir = Some(beside.join("everstep-compiled"));
        let options = |cache_dir| EngineOptions { cache_dir, ..EngineOptions::default() };
        Engine::new(options(cache_dir))
            .or_else(|_| Engine::new(options(None)))
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Checks an input as a start does.
pub(crate) fn check_input(workflow: &WorkflowDefinition, input: &Payload) -> Result<(), Refused> {
    let Some(schema) = &workflow.input else { return Ok(()) };
    let (name, version) = (&workflow.name, &workflow.version);
    let what = format!("the input does not match the schema of `{name}` version `{version}`");
    check(schema, input, "input.invalid", &what)
}

/// Checks an event as its receiver's server does.
pub(crate) fn check_event(
    workflow: &WorkflowDefinition,
    name: &str,
    data: &Payload,
) -> Result<(), Refused> {
    let Some(events) = &workflow.events else { return Ok(()) };
    let Some(schema) = events.get(name) else {
        let known: Vec<&str> = events.keys().map(String::as_str).collect();
        let (workflow, known) = (&workflow.name, known.join(", "));
        let message = format!("workflow `{workflow}` takes no event `{name}`; it takes: {known}");
        return Err(Refused::new("event.unknown", message));
    };
    let workflow = &workflow.name;
    let what = format!("the data does not match the schema of event `{name}` of `{workflow}`");
    check(schema, data, "event.invalid", &what)
}

fn check(
    schema: &serde_json::Value,
    data: &Payload,
    code: &'static str,
    what: &str,
) -> Result<(), Refused> {
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| Refused::new("module.schema", error.to_string()))?;
    let value = data.read().map_err(|error| Refused::new(code, format!("{what}: {error}")))?;
    let errors = validator.iter_errors(&value).take(MAX_VIOLATIONS);
    let found: Vec<String> =
        errors.map(|error| format!("{}: {error}", error.instance_path().as_str())).collect();
    match found.is_empty() {
        true => Ok(()),
        false => Err(Refused::new(code, format!("{what}: {}", found.join("; ")))),
    }
}
