//! The programs of the former release are replaced by those of this one, one after the other, while people post, read and search.
//!
//! The variable TALLY_TEST_FORMER_PROGRAMS names the directory of the former release's programs. Without it the tests are counted as
//! ignored, and standard error says so.

mod people;

use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::elastic::ElasticGenerations;
use distributed::mysql::MySqlGenerations;
use libtest_mimic::Trial;
use projector::operate::{Operation, Report, Step, Target};
use read_model::{OperateGenerations, Projection};
use testkit::polling::{eventually_within, until};
use testkit::scenarios::Api;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, watch};

use self::people::{Door, People};
use crate::containers::{self, Server, brokers, elasticsearch_url, redis_url};
use crate::faults::program::{Program, Release, Servers, former_programs};
use crate::mysql::server::Database;
use crate::topology::open_operator;

/// Longest wait for a program to be ready, or for all projections to be made anew.
const LONG_WAIT: Duration = Duration::from_secs(180);
/// Words of every message as only this release finds them.
const WORDS: &str = "ol needle";

/// One upgrade goes on at a time, since each has servers and programs of its own.
static TURN: Mutex<()> = Mutex::const_new(());

/// Programs on servers of their own.
struct System {
    /// Begins the names of the programs' logs.
    name: &'static str,
    servers: Servers,
    writes: Program,
    reads: Program,
    /// In the order of [`Projection::ALL`].
    projectors: Vec<Program>,
    door: Arc<Door>,
    _containers: [Server; 3],
    _turn: MutexGuard<'static, ()>,
}

impl System {
    /// Starts the former release.
    async fn start(name: &'static str) -> Self {
        let turn = TURN.lock().await;
        let (kafka, redis) = (containers::own_kafka(None).await, containers::own_redis().await);
        let (elasticsearch, database) = (containers::own_elasticsearch().await, Database::empty().await);
        let servers = Servers {
            brokers: brokers(&kafka),
            redis_url: redis_url(&redis),
            mysql_url: database.url(),
            elasticsearch_url: elasticsearch_url(&elasticsearch),
        };
        let projectors = Projection::ALL.map(|projection| start_projector(Release::Former, name, projection, &servers));
        let writes = Program::command_api(Release::Former, &format!("{name}-former-command-api"), &servers);
        let reads = Program::query_api(Release::Former, &format!("{name}-former-query-api"), &servers);
        for program in projectors.iter().chain([&writes, &reads]) {
            wait_until_ready(program).await;
        }
        let door = Arc::new(Door::new(Api::new(&writes.url(), &reads.url())));
        let projectors = projectors.into();
        Self { name, servers, writes, reads, projectors, door, _containers: [kafka, redis, elasticsearch], _turn: turn }
    }

    async fn replace_writes(&mut self) {
        let program = Program::command_api(Release::Current, &format!("{}-command-api", self.name), &self.servers);
        self.lead_people_to(Some(program), None).await;
    }

    async fn replace_reads(&mut self, release: Release) {
        let program = Program::query_api(release, &format!("{}-{release:?}-query-api", self.name), &self.servers);
        self.lead_people_to(None, Some(program)).await;
    }

    /// Leads people to other programs, and stops the ones before.
    async fn lead_people_to(&mut self, writes: Option<Program>, reads: Option<Program>) {
        for program in writes.iter().chain(&reads) {
            // Where people may be refused, it takes the place of the other one also when it is not ready.
            if self.door.may_refuse() {
                first_answer(program).await;
            } else {
                wait_until_ready(program).await;
            }
        }
        let url = |new: &Option<Program>, old: &Program| new.as_ref().map_or(old.url(), Program::url);
        self.door.lead_to(Api::new(&url(&writes, &self.writes), &url(&reads, &self.reads))).await;
        if let Some(writes) = writes {
            std::mem::replace(&mut self.writes, writes).stop().await;
        }
        if let Some(reads) = reads {
            std::mem::replace(&mut self.reads, reads).stop().await;
        }
    }

    /// Starts a projector of this release for each projection, and then stops the former one.
    async fn replace_projectors(&mut self) {
        for (index, projection) in Projection::ALL.into_iter().enumerate() {
            let program = start_projector(Release::Current, self.name, projection, &self.servers);
            wait_until_ready(&program).await;
            std::mem::replace(&mut self.projectors[index], program).stop().await;
        }
    }

    /// Waits until this release has made all projections anew.
    async fn wait_for_swaps(&self) {
        for projection in Projection::ALL {
            let generations: Arc<dyn OperateGenerations> = match projection {
                Projection::Views | Projection::Counts => {
                    Arc::new(MySqlGenerations::new(&self.servers.mysql_url).unwrap())
                }
                Projection::Search => Arc::new(ElasticGenerations::new(&self.servers.elasticsearch_url).unwrap()),
            };
            eventually_within(LONG_WAIT, "the current version", async || match generations.live(projection).await {
                Ok(live) if live.version == projection.version() => Ok(()),
                other => Err((projection, other)),
            })
            .await;
        }
    }

    /// Starts projectors of the former release beside those of this one, which share their work with them.
    async fn start_former_projectors(&self) -> Vec<Program> {
        let name = format!("{}-again", self.name);
        let programs =
            Projection::ALL.map(|projection| start_projector(Release::Former, &name, projection, &self.servers));
        for program in &programs {
            wait_until_ready(program).await;
            until(LONG_WAIT, "partitions of its own", async || {
                !program.metric_values("tally_projection_lag_events").await.is_empty()
            })
            .await;
        }
        programs.into()
    }

    async fn verify(&self, target: Target, swap: bool) -> Report {
        let Servers { brokers, mysql_url, elasticsearch_url, .. } = &self.servers;
        let operator = open_operator(brokers, mysql_url, elasticsearch_url).await.unwrap();
        let (steps, _) = watch::channel(Step::none());
        let report = operator.run(Operation::Verify { target, swap, keep_ms: 0 }, &steps).await.unwrap();
        operator.close().await;
        report
    }

    async fn assert_no_difference(&self, target: Target) {
        let report = self.verify(target, false).await;
        assert!(report.is_good, "{target:?}: {}", report.text);
    }

    async fn stop(self, began: Instant, messages: usize) {
        crate::report(&format!(
            "upgrade: {} — {messages} messages in {:.0} s; refused: {:?}",
            self.name,
            began.elapsed().as_secs_f64(),
            self.door.refusals()
        ));
        for program in self.projectors.into_iter().chain([self.writes, self.reads]) {
            program.stop().await;
        }
    }
}

fn start_projector(release: Release, name: &str, projection: Projection, servers: &Servers) -> Program {
    Program::projector(release, &format!("{name}-{release:?}-{}", projection.name()), projection, servers)
}

/// The status and the body of the first answer about readiness.
async fn first_answer(program: &Program) -> String {
    eventually_within(LONG_WAIT, "an answer", async || {
        let answer =
            reqwest::get(format!("{}/health/ready", program.url())).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("{} {}", answer.status(), answer.text().await.unwrap()))
    })
    .await
}

async fn wait_until_ready(program: &Program) {
    eventually_within(LONG_WAIT, "a program that is ready", async || {
        let answer = first_answer(program).await;
        if answer.starts_with("200") { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// The order that docs/operations.md names. Nobody is refused, and programs of the former release go on after the swap, also when they start again.
/// The documents that its search projector adds then are folded in its way; verify finds and mends them.
async fn readers_of_the_log_are_replaced_first_and_nobody_notices() {
    let (mut system, began) = (System::start("readers-first").await, Instant::now());
    let mut people = People::come(&system.door).await;
    people.during(system.replace_projectors()).await;
    people.during(system.wait_for_swaps()).await;
    people.see_everything().await;

    let again = people.during(system.start_former_projectors()).await;
    people.during(system.replace_reads(Release::Former)).await;
    people.see_everything().await;
    for program in again {
        people.during(program.stop()).await;
    }
    people.during(system.replace_reads(Release::Current)).await;
    people.during(system.replace_writes()).await;
    system.door.name_authors();
    people.wait_for_authors().await;

    let messages = people.leave().await;
    for target in [Target::Views, Target::Counts] {
        system.assert_no_difference(target).await;
    }
    let mended = system.verify(Target::Search, true).await;
    assert!(mended.text.contains("search: terms of documents lacks"), "{}", mended.text);
    system.assert_no_difference(Target::Search).await;
    people.assert_found(WORDS).await;
    system.stop(began, messages).await;
}

/// The other order. Until the projectors are replaced, a program may refuse requests. It says so, and nothing is lost.
async fn the_writer_of_the_log_is_replaced_first_and_nothing_is_lost() {
    let (mut system, began) = (System::start("writer-first").await, Instant::now());
    let mut people = People::come(&system.door).await;
    system.door.let_refuse(true);
    people.during(system.replace_writes()).await;
    // The former projectors stand still at events that they do not know.
    system.door.name_authors();
    people.wait_for_authors().await;
    people.during(system.replace_reads(Release::Current)).await;
    people.during(system.replace_projectors()).await;
    people.during(system.wait_for_swaps()).await;
    for program in [&system.writes, &system.reads] {
        people.during(wait_until_ready(program)).await;
    }
    system.door.let_refuse(false);

    let messages = people.leave().await;
    system.assert_no_difference(Target::All).await;
    people.assert_found(WORDS).await;
    system.stop(began, messages).await;
}

/// The tests, which are ignored where the environment names no programs.
pub(crate) fn tests(runtime: &Handle) -> Vec<Trial> {
    let tests = upgrades::tests(runtime);
    if former_programs().is_some() {
        return tests;
    }
    crate::report(&format!(
        "SKIPPED: {} tests of an upgrade: TALLY_TEST_FORMER_PROGRAMS does not name the former release's programs",
        tests.len()
    ));
    tests.into_iter().map(|test| test.with_ignored_flag(true)).collect()
}

mod upgrades {
    use super::{
        readers_of_the_log_are_replaced_first_and_nobody_notices,
        the_writer_of_the_log_is_replaced_first_and_nothing_is_lost,
    };

    tests!(
        readers_of_the_log_are_replaced_first_and_nobody_notices,
        the_writer_of_the_log_is_replaced_first_and_nothing_is_lost,
    );
}
