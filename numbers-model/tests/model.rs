//! Explores every scope to its end and every mistake until it is found, and prints a summary.
//!
//! It has its own main function, because the standard one hides what passing tests print.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use numbers_model::invariants::INVARIANTS;
use numbers_model::model::Action;
use numbers_model::scope::Scope;
use numbers_model::scopes::{self, MistakeCase};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

fn main() -> ExitCode {
    // Test runners list tests before they run them.
    if std::env::args().any(|argument| argument == "--list") {
        print_line("model: test");
        return ExitCode::SUCCESS;
    }
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let all_hold = scopes::explored().into_iter().filter(|scope| !explore(scope, threads)).count() == 0;
    let cases = scopes::mistake_cases();
    let found = cases.iter().filter(|case| is_found(case)).count();
    print_line(&format!("model: caught {found} of {} mistakes", cases.len()));
    let all_broken = every_invariant_is_broken(&cases);
    if all_hold && all_broken && found == cases.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks that some mistake breaks each invariant. An invariant that none breaks may demand nothing.
fn every_invariant_is_broken(cases: &[MistakeCase]) -> bool {
    let is_broken = |name: &&str| cases.iter().any(|case| case.breaks.contains(name));
    let unbroken: Vec<_> = INVARIANTS.iter().map(|(name, _)| *name).filter(|name| !is_broken(name)).collect();
    unbroken.iter().for_each(|name| print_line(&format!("model: no mistake breaks \"{name}\"")));
    unbroken.is_empty()
}

/// Explores a scope to its end. Returns whether every invariant held and every goal was reached.
fn explore(scope: &Scope, threads: usize) -> bool {
    let began_at = Instant::now();
    let explored = scope.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = explored.discoveries();
    let (mut broken, mut missed, mut reached) = (0, 0, 0);
    for property in scope.properties() {
        match (property.expectation, discoveries.get(property.name)) {
            (Expectation::Sometimes, Some(_)) => reached += 1,
            (Expectation::Sometimes, None) => {
                missed += 1;
                print_line(&format!("model: {} never reaches that {}", scope.name, property.name));
            }
            (_, Some(path)) => {
                broken += 1;
                print_path(&format!("{} breaks", scope.name), property.name, &path.clone().into_actions());
            }
            (_, None) => {}
        }
    }
    print_line(&format!(
        "model: {} — {} states ({} steps), {} invariants hold, {reached} goals reached, {:.1} s",
        scope.name,
        group_thousands(explored.unique_state_count()),
        group_thousands(explored.state_count()),
        INVARIANTS.len() - broken,
        began_at.elapsed().as_secs_f64(),
    ));
    broken + missed == 0
}

/// Explores a scope with a mistake until each invariant that the mistake must break is broken.
fn is_found(case: &MistakeCase) -> bool {
    let (mistake, scope) = (case.mistake.description(), case.scope.name);
    let finish = HasDiscoveries::AllOf(case.breaks.iter().copied().collect());
    // One thread searches breadth first, and finds a shortest path.
    let explored = case.scope.clone().checker().threads(1).finish_when(finish).spawn_bfs().join();
    let is_broken = |name: &&'static str| match explored.discovery(name) {
        Some(path) => {
            let actions = path.into_actions();
            print_line(&format!("model: {mistake}: breaks \"{name}\" in {scope}, in {} steps", actions.len()));
            if std::env::args().any(|argument| argument == "--nocapture") {
                print_path(mistake, name, &actions);
            }
            true
        }
        None => {
            print_line(&format!("model: {mistake}: does NOT break \"{name}\" in {scope}"));
            false
        }
    };
    case.breaks.iter().filter(|name| is_broken(name)).count() == case.breaks.len()
}

fn print_path(what: &str, invariant: &str, actions: &[Action]) {
    print_line(&format!("model: {what} \"{invariant}\" by"));
    actions.iter().for_each(|action| print_line(&format!("model:   {action:?}")));
}

/// Separates thousands by commas.
fn group_thousands(number: usize) -> String {
    let digits = number.to_string();
    let (head, tail) = digits.split_at(digits.len() % 3);
    let thousands = tail.as_bytes().chunks(3).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
    Some(head.to_owned()).filter(|head| !head.is_empty()).into_iter().chain(thousands).collect::<Vec<_>>().join(",")
}

fn print_line(line: &str) {
    // A closed standard output is no failure: the exit code has the result.
    drop(writeln!(stdout(), "{line}"));
}
