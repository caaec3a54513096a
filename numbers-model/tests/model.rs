//! Explores every scope to its end, puts every mistake back in, and says what came of it.
//!
//! It has its own main function, so that the summary is seen where tests pass.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use numbers_model::invariants::INVARIANTS;
use numbers_model::model::{Action, Numbers};
use numbers_model::scope::Scope;
use numbers_model::scopes::{self, Made};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

fn main() -> ExitCode {
    // Those who ask what tests there are get an answer.
    if std::env::args().any(|argument| argument == "--list") {
        tell("model: test");
        return ExitCode::SUCCESS;
    }
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let hold = scopes::all().into_iter().filter(|scope| !holds(scope, threads)).count() == 0;
    let mistakes = scopes::mistakes();
    let caught = mistakes.iter().filter(|made| is_caught(made)).count();
    tell(&format!("model: caught {caught} of {} mistakes", mistakes.len()));
    let demands = every_invariant_is_broken(&mistakes);
    if hold && demands && caught == mistakes.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An invariant that no mistake breaks may demand nothing.
fn every_invariant_is_broken(mistakes: &[Made]) -> bool {
    let is_broken = |name: &&str| mistakes.iter().any(|made| made.breaks.contains(name));
    let unbroken: Vec<_> = INVARIANTS.iter().map(|(name, _)| *name).filter(|name| !is_broken(name)).collect();
    unbroken.iter().for_each(|name| tell(&format!("model: no mistake breaks \"{name}\"")));
    unbroken.is_empty()
}

/// Explores a scope to its end.
fn holds(scope: &Scope, threads: usize) -> bool {
    let (began, model) = (Instant::now(), Numbers::new(scope.clone()));
    let explored = model.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = explored.discoveries();
    let (mut broken, mut missed, mut shown) = (0, 0, 0);
    for property in model.properties() {
        match (property.expectation, found.get(property.name)) {
            (Expectation::Sometimes, Some(_)) => shown += 1,
            (Expectation::Sometimes, None) => {
                missed += 1;
                tell(&format!("model: {} never shows that {}", scope.name, property.name));
            }
            (_, Some(path)) => {
                broken += 1;
                tell_path(&format!("{} breaks", scope.name), property.name, &path.clone().into_actions());
            }
            (_, None) => {}
        }
    }
    tell(&format!(
        "model: {} — {} states ({} steps), {} invariants hold, {shown} sights seen, {:.1} s",
        scope.name,
        grouped(explored.unique_state_count()),
        grouped(explored.state_count()),
        INVARIANTS.len() - broken,
        began.elapsed().as_secs_f64(),
    ));
    broken + missed == 0
}

/// Explores a scope with a mistake until each invariant is broken that it must break.
fn is_caught(made: &Made) -> bool {
    let (words, place) = (made.mistake.words(), made.scope.name);
    let finish = HasDiscoveries::AllOf(made.breaks.iter().copied().collect());
    // One thread goes breadth first, and finds a shortest way.
    let explored = Numbers::new(made.scope.clone()).checker().threads(1).finish_when(finish).spawn_bfs().join();
    let is_broken = |name: &&'static str| match explored.discovery(name) {
        Some(path) => {
            let actions = path.into_actions();
            tell(&format!("model: {words}: breaks \"{name}\" in {place}, in {} steps", actions.len()));
            if std::env::args().any(|argument| argument == "--nocapture") {
                tell_path(words, name, &actions);
            }
            true
        }
        None => {
            tell(&format!("model: {words}: does NOT break \"{name}\" in {place}"));
            false
        }
    };
    made.breaks.iter().filter(|name| is_broken(name)).count() == made.breaks.len()
}

fn tell_path(what: &str, invariant: &str, actions: &[Action]) {
    tell(&format!("model: {what} \"{invariant}\" by"));
    actions.iter().for_each(|action| tell(&format!("model:   {action:?}")));
}

/// In thousands, for people.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let thousands = tail.as_bytes().chunks(3).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
    Some(head.to_owned()).filter(|head| !head.is_empty()).into_iter().chain(thousands).collect::<Vec<_>>().join(",")
}

fn tell(line: &str) {
    // Where nobody reads, the exit code says it.
    drop(writeln!(stdout(), "{line}"));
}
