//! What `upload --replace`, `modules rollback` and `runs upgrade` share: the progress of the check of
//! open runs, its report, and the exit code.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::output::{Output, Progress};
use crate::text;
use everstep_client::{ClientError, Finding, InterfaceChange, UpgradeProgress, UpgradeReport};

/// How open runs that do not pass are to be treated.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Move the runs that pass although others do not; those stay on their module
    #[arg(long)]
    pub(crate) allow_diverging: bool,
    /// Only show what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Shows how far the check is for as long as it goes on.
pub(crate) struct Watch<'a> {
    output: &'a Output,
    spinner: Option<Progress>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        Self { output, spinner: None }
    }

    pub(crate) fn show(&mut self, progress: UpgradeProgress) {
        let UpgradeProgress { checked, of, failed, moved } = progress;
        let spinner = self.spinner.get_or_insert_with(|| self.output.spinner(String::new()));
        spinner.say(match moved {
            0 => format!("checking open runs: {checked} of {of}, {failed} do not pass"),
            _ => format!("moving open runs: {moved} of {}", checked - failed),
        });
    }
}

/// The answer, when it was not refused for open runs that do not pass. Then the report is printed, and
/// the failure has the exit code of a divergence.
pub(crate) fn answer<T>(context: &Context, answer: Result<T, ClientError>) -> Result<T, Failure> {
    answer.map_err(|error| {
        let ClientError::Problem(problem) = &error else { return error.into() };
        if !context.output.is_json() {
            changes(&problem.changes).iter().for_each(|line| context.output.note(line));
        }
        let Some(report) = &problem.upgrade else { return error.into() };
        let shown = if context.output.is_json() {
            context.output.value(report)
        } else {
            lines(report).iter().for_each(|line| context.output.note(line));
            Ok(())
        };
        match shown {
            Ok(()) => Failure::from(error).exit(Exit::Divergence),
            Err(failure) => failure,
        }
    })
}

/// What a module changes for those who use its workflows, one line each.
pub(crate) fn changes(changes: &[InterfaceChange]) -> Vec<String> {
    let line = |it: &InterfaceChange| {
        let InterfaceChange { workflow, was, version, change } = it;
        let versions = if was == version { was.clone() } else { format!("{was} → {version}") };
        text::one_line(&format!("{workflow} {versions}, {change}"), 200)
    };
    changes.iter().map(line).collect()
}

/// Prints the report of a check that was not refused.
pub(crate) fn show(context: &Context, report: &UpgradeReport) {
    lines(report).iter().for_each(|line| context.output.note(line));
}

/// How a verb ends with this report: a dry run that finds something is no success.
pub(crate) fn ended(options: Options, report: Option<&UpgradeReport>) -> Ended {
    let failed = report.is_some_and(|report| report.failed > 0);
    Ok(if failed && options.dry_run { Exit::Divergence } else { Exit::Done })
}

/// The report for people.
fn lines(report: &UpgradeReport) -> Vec<String> {
    let UpgradeReport { runs, passed, failed, moved, groups, findings, elapsed_ms } = report;
    let seconds = *elapsed_ms as f64 / 1_000.0;
    let mut lines = vec![match failed {
        0 => format!("checked {runs} open runs in {seconds:.2} s: all pass"),
        _ => format!("checked {runs} open runs in {seconds:.2} s: {passed} pass, {failed} do not"),
    }];
    for group in groups {
        let summary = text::one_line(&group.summary, 200);
        lines.push(format!("  {} × {}: {summary}", group.runs, group.code));
        lines.push(format!("    for example run {}", group.example));
        let example = findings.iter().find(|finding| finding.run == group.example);
        lines.extend(example.into_iter().flat_map(details));
        if !group.backtrace.is_empty() {
            lines.push("      asked for at".to_owned());
        }
        let frames = group.backtrace.iter().map(|frame| text::one_line(frame.trim_start(), 160));
        lines.extend(frames.map(|frame| format!("        {frame}")));
    }
    lines.push(match moved {
        0 => "nothing was changed".to_owned(),
        1 => "1 run was moved".to_owned(),
        _ => format!("{moved} runs were moved"),
    });
    lines
}

fn details(finding: &Finding) -> Vec<String> {
    let message = text::lines(&finding.message);
    message.lines().take(40).map(|line| format!("      {line}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use everstep_client::FindingGroup;

    #[test]
    fn a_report_groups_by_cause_and_shows_an_example_of_each() {
        let run = "0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap();
        let message = "at journal position 4\n  the journal has   task `charge` 7".to_owned();
        let code = "divergence".to_owned();
        let report = UpgradeReport {
            runs: 1_000,
            passed: 997,
            failed: 3,
            moved: 0,
            groups: vec![FindingGroup {
                code: code.clone(),
                summary: "the journal has task `charge`, the module asks for nothing".into(),
                runs: 3,
                example: run,
                backtrace: vec![
                    "  7:  0x3f2 - order.wasm!ship".into(),
                    "      at src/lib.rs:31:9".into(),
                ],
            }],
            findings: vec![Finding { run, code, message, divergence: None }],
            elapsed_ms: 812,
        };
        insta::assert_snapshot!(lines(&report).join("\n"));
        insta::assert_snapshot!(
            lines(&UpgradeReport { runs: 2, moved: 2, ..Default::default() }).join("\n")
        );
    }
}
