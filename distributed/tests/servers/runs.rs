//! Whose containers are whose: each run marks its own, and removes what runs that have died have left behind.
//!
//! A run holds a file locked as long as it lives, however it ends; its containers have the file's name as a label. Who gets
//! the lock of another run's file knows that run to be dead.

use std::collections::HashMap;
use std::fs::{File, create_dir_all, read_dir, remove_file, rename};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::OnceLock;
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use uuid::Uuid;

/// The label of a container: which run it is of.
pub(crate) const LABEL: &str = "tally.tests.run";
/// How often it is looked for containers of a run: others may have been on their way.
const ROUNDS: usize = 10;
/// Longest wait for the removal of containers when the run is told to end.
const REMOVAL_WAIT: Duration = Duration::from_secs(60);
/// What the file of a run ends with.
const EXTENSION: &str = "run";

/// This run.
static OWN: OnceLock<Run> = OnceLock::new();

struct Run {
    name: String,
    path: PathBuf,
    /// Locked as long as this process lives.
    _locked: File,
}

/// What containers of this run are labelled with.
pub(crate) fn name() -> &'static str {
    &OWN.get_or_init(|| begin(&folder())).name
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs")
}

fn begin(folder: &Path) -> Run {
    create_dir_all(folder).unwrap();
    let name = Uuid::new_v4().simple().to_string();
    // Nobody sees it before it is locked.
    let (path, unseen) = (folder.join(&name).with_extension(EXTENSION), folder.join(&name));
    let locked = File::create(&unseen).unwrap();
    locked.lock().unwrap();
    rename(unseen, &path).unwrap();
    Run { name, path, _locked: locked }
}

/// Removes the containers of runs that have died.
pub(crate) async fn sweep(docker: &Docker) -> Result<(), String> {
    sweep_in(&folder(), docker).await
}

async fn sweep_in(folder: &Path, docker: &Docker) -> Result<(), String> {
    let Ok(files) = read_dir(folder) else {
        // Nobody has run here before.
        return Ok(());
    };
    let paths = files.map(|file| file.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)) {
        // Gone means that somebody else has swept it.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            remove_of(docker, &name).await?;
            drop(remove_file(&path));
        }
    }
    Ok(())
}

/// Removes the containers of this run, all that can be, before it says what could not be.
pub(crate) async fn end(docker: &Docker) -> Result<(), String> {
    let Some(own) = OWN.get() else {
        // Nothing was started.
        return Ok(());
    };
    remove_of(docker, &own.name).await?;
    drop(remove_file(&own.path));
    Ok(())
}

async fn remove_of(docker: &Docker, run: &str) -> Result<(), String> {
    let filters = HashMap::from([("label", vec![format!("{LABEL}={run}")])]);
    let filters = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let mut failed = Vec::new();
    for _ in 0..ROUNDS {
        let found = docker.list_containers(Some(filters.clone())).await;
        let found = found.map_err(|error| format!("the containers of the tests cannot be listed: {error}"))?;
        if found.is_empty() {
            return Ok(());
        }
        failed.clear();
        for id in found.into_iter().filter_map(|container| container.id) {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(&id, Some(options)).await {
                // Gone, or somebody else is about it.
                Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
                Err(error) => failed.push(format!("{id}: {error}")),
            }
        }
    }
    Err(format!("containers of the tests are left: {}", failed.join("; ")))
}

/// Waits until this process is told to end; then removes the containers of this run, and ends.
pub(crate) async fn end_on_signal(docker: Docker) {
    let [mut interrupt, mut terminate] =
        [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).unwrap());
    // What shells make of an end by these signals.
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    crate::tell("told to end: the containers of this run are being removed");
    match timeout(REMOVAL_WAIT, end(&docker)).await {
        Ok(Ok(())) => {}
        Ok(Err(failed)) => crate::tell(&failed),
        Err(_) => crate::tell("the engine did not remove them in time; the next run will"),
    }
    exit(code);
}

async fn what_a_dead_run_has_left_is_removed_and_what_a_living_one_has_is_not() {
    let docker = testcontainers::core::client::docker_client_instance().await.unwrap();
    let folder = folder().join(format!("of-a-test-{}", name()));
    let (living, dead) = (begin(&folder), begin(&folder));
    let [of_living, of_dead] = [&living, &dead].map(|run| crate::containers::redis_of(&run.name));
    let (of_living, of_dead) = tokio::join!(of_living, of_dead);
    sweep_in(&folder, &docker).await.unwrap();
    // Both live.
    assert!(is_there(&docker, of_living.container.id()).await && is_there(&docker, of_dead.container.id()).await);
    // As when its process has ended: the file is there, and nobody holds it.
    let path = dead.path.clone();
    drop(dead);
    assert!(path.exists());
    sweep_in(&folder, &docker).await.unwrap();
    assert!(is_there(&docker, of_living.container.id()).await && !is_there(&docker, of_dead.container.id()).await);
    assert!(living.path.exists() && !path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

async fn is_there(docker: &Docker, id: &str) -> bool {
    docker.inspect_container(id, None).await.is_ok()
}

tests!(what_a_dead_run_has_left_is_removed_and_what_a_living_one_has_is_not);
