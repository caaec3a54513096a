//! The containers of a run. Each run labels its own, and removes those that dead runs have left behind.
//!
//! Each run holds the lock of a file until its process ends, in whatever way. Its containers have the name of the file as a label.
//! A run that gets the lock of another run's file knows that the other run is dead.

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

/// The label that holds the name of a container's run.
pub(crate) const LABEL: &str = "tally.tests.run";
/// How often the containers of a run are listed and removed, since more may be starting at the same time.
const ROUNDS: usize = 10;
/// Longest wait for the removal of containers after a signal.
const REMOVAL_WAIT: Duration = Duration::from_secs(60);
/// The extension of a run's file.
const EXTENSION: &str = "run";

static OWN: OnceLock<Run> = OnceLock::new();

struct Run {
    name: String,
    path: PathBuf,
    /// Locked as long as this process lives.
    _locked: File,
}

/// The name of this run.
pub(crate) fn name() -> &'static str {
    &OWN.get_or_init(|| begin(&folder())).name
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs")
}

fn begin(folder: &Path) -> Run {
    create_dir_all(folder).unwrap();
    let name = Uuid::new_v4().simple().to_string();
    // The file gets its extension when it is locked. Other runs ignore it before that.
    let path = folder.join(&name).with_extension(EXTENSION);
    let unlocked = folder.join(&name);
    let locked = File::create(&unlocked).unwrap();
    locked.lock().unwrap();
    rename(unlocked, &path).unwrap();
    Run { name, path, _locked: locked }
}

/// Removes the containers of dead runs.
pub(crate) async fn sweep(docker: &Docker) -> Result<(), String> {
    sweep_in(&folder(), docker).await
}

async fn sweep_in(folder: &Path, docker: &Docker) -> Result<(), String> {
    let Ok(files) = read_dir(folder) else {
        // This is the first run.
        return Ok(());
    };
    let paths = files.map(|file| file.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)) {
        // Where the file is gone, another run has removed it and its containers.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            remove_containers(docker, &name).await?;
            drop(remove_file(&path));
        }
    }
    Ok(())
}

/// Removes the containers of this run. The error names those that could not be removed.
pub(crate) async fn end(docker: &Docker) -> Result<(), String> {
    let Some(own) = OWN.get() else {
        // No container was started.
        return Ok(());
    };
    remove_containers(docker, &own.name).await?;
    drop(remove_file(&own.path));
    Ok(())
}

async fn remove_containers(docker: &Docker, run: &str) -> Result<(), String> {
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
                // It is gone, or another process removes it.
                Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
                Err(error) => failed.push(format!("{id}: {error}")),
            }
        }
    }
    Err(format!("containers of the tests are left: {}", failed.join("; ")))
}

/// Waits for SIGINT or SIGTERM, removes the containers of this run, and ends the process.
pub(crate) async fn end_on_signal(docker: Docker) {
    let [mut interrupt, mut terminate] =
        [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).unwrap());
    // The exit codes that shells report for these signals.
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    crate::report("stopped by a signal: removing the containers of this run");
    match timeout(REMOVAL_WAIT, end(&docker)).await {
        Ok(Ok(())) => {}
        Ok(Err(failed)) => crate::report(&failed),
        Err(_) => crate::report("the engine did not remove them in time; the next run will"),
    }
    exit(code);
}

async fn containers_of_dead_runs_are_removed_and_those_of_living_runs_are_not() {
    let docker = testcontainers::core::client::docker_client_instance().await.unwrap();
    let folder = folder().join(format!("test-{}", name()));
    let (living, dead) = (begin(&folder), begin(&folder));
    let [living_redis, dead_redis] = [&living, &dead].map(|run| crate::containers::redis_of_run(&run.name));
    let (living_redis, dead_redis) = tokio::join!(living_redis, dead_redis);
    sweep_in(&folder, &docker).await.unwrap();
    // Both runs live.
    assert!(exists(&docker, living_redis.container.id()).await && exists(&docker, dead_redis.container.id()).await);
    // Unlocks the file and leaves it, as the end of the process does.
    let path = dead.path.clone();
    drop(dead);
    assert!(path.exists());
    sweep_in(&folder, &docker).await.unwrap();
    assert!(exists(&docker, living_redis.container.id()).await && !exists(&docker, dead_redis.container.id()).await);
    assert!(living.path.exists() && !path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

async fn exists(docker: &Docker, id: &str) -> bool {
    docker.inspect_container(id, None).await.is_ok()
}

tests!(containers_of_dead_runs_are_removed_and_those_of_living_runs_are_not);
