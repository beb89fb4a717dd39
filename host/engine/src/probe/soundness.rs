//! What a guest may have that is neither in its memories nor in its globals. A component with such a thing
//! gets no probes: a snapshot would forget it.

use super::ProbeError;
use super::accessors::SINK;
use wasmparser::{CanonicalFunction, ComponentType, FunctionBody, Operator, Payload, ValType};

/// Names that the host takes for itself begin like this.
const RESERVED: &str = "everstep-";

/// Refuses a part of a component, or of a core module in it, that probes cannot do justice to.
pub(super) fn check(payload: &Payload<'_>) -> Result<(), ProbeError> {
    let unsound = |what| Err(ProbeError::Unreachable(what));
    match payload {
        Payload::ComponentStartSection { .. } => unsound("it has a start function of its own"),
        Payload::ComponentTypeSection(types) => {
            for ty in types.clone() {
                if matches!(ty?, ComponentType::Resource { .. }) {
                    return unsound("it defines resources of its own");
                }
            }
            Ok(())
        }
        Payload::ComponentCanonicalSection(functions) => {
            for function in functions.clone() {
                if matches!(
                    function?,
                    CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. }
                ) {
                    return unsound("it defines resources of its own");
                }
            }
            Ok(())
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports.clone() {
                if import?.name.name == SINK {
                    return unsound("it imports what is the host's");
                }
            }
            Ok(())
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports.clone() {
                if export?.name.name.starts_with(RESERVED) {
                    return unsound("it exports names that are the host's");
                }
            }
            Ok(())
        }
        Payload::GlobalSection(globals) => {
            for global in globals.clone() {
                let ty = global?.ty;
                if ty.mutable && matches!(ty.content_type, ValType::Ref(_)) {
                    return unsound("a global that changes holds a reference");
                }
            }
            Ok(())
        }
        Payload::CodeSectionEntry(body) => check_code(body),
        _ => Ok(()),
    }
}

fn check_code(body: &FunctionBody<'_>) -> Result<(), ProbeError> {
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        match operators.read()? {
            Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. } => {
                return Err(ProbeError::Unreachable("its code changes tables"));
            }
            Operator::DataDrop { .. } => {
                return Err(ProbeError::Unreachable("its code drops data segments"));
            }
            _ => {}
        }
    }
    Ok(())
}
