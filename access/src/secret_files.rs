//! Secrets that a program makes for itself, each in a file that only its user may read.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The end of the name of a file that is not whole yet.
const UNFINISHED: &str = "new";

/// Why a secret could neither be read nor made.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("{} cannot be read", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be written", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Reads the secret in a file. Where there is none, writes what `make` returns, for this user alone. Logs the file's name. Only one
/// process at a time may do that, as the owner of the directory.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> Result<String, SecretFileError> {
    match read(path) {
        Ok(text) => {
            tracing::info!("a secret was read from {}", path.display());
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = make();
            write_whole(path, &text).map_err(|source| SecretFileError::Write { path: path.to_owned(), source })?;
            tracing::info!("a secret was made: {}", path.display());
            Ok(text)
        }
        Err(source) => Err(SecretFileError::Read { path: path.to_owned(), source }),
    }
}

/// Refuses a symbolic link: whoever can make one in the directory could have another file taken for the secret. Warns if others may
/// read the file.
fn read(path: &Path) -> io::Result<String> {
    let metadata = std::fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        let reason = "it is a symbolic link; put the file itself here, or name it by the variable of the secret";
        return Err(io::Error::new(ErrorKind::InvalidInput, reason));
    }
    if private_files::is_open_to_others(&metadata) {
        tracing::warn!("other users of this machine may read the secret in {0}; run: chmod 600 {0}", path.display());
    }
    private_files::read_secret(path)
}

/// Writes a file so that it is there whole or not at all, also after a loss of power.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_added_extension(UNFINISHED);
    // An earlier process may have left it. Somebody else may have made it, or a link: its content and its rights are not ours.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_files::private_file().create_new(true).open(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use thiserror_ext::AsReport;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_user_alone() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("root.key");
        assert_eq!(read_or_make(&path, || "first".to_owned()).unwrap(), "first");
        assert_eq!(read_or_make(&path, || "second".to_owned()).unwrap().trim(), "first");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_with_its_name() {
        let missing = Path::new("/nonexistent/root.key");
        let error = read_or_make(missing, String::new).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/root.key"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_others_have_left_is_neither_written_nor_read() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("root.key");
        // A file that everybody may read, and which is still open somewhere.
        let unfinished = directory.path().join("root.key.new");
        std::fs::write(&unfinished, "left over").unwrap();
        std::fs::set_permissions(&unfinished, PermissionsExt::from_mode(0o644)).unwrap();
        read_or_make(&path, || "first".to_owned()).unwrap();
        assert!(!private_files::is_open_to_others(&std::fs::metadata(&path).unwrap()));
        // A link to a file of somebody else.
        let (linked, target) = (directory.path().join("linked.key"), directory.path().join("target"));
        symlink(&target, directory.path().join("linked.key.new")).unwrap();
        read_or_make(&linked, || "second".to_owned()).unwrap();
        assert!(!target.exists() && !std::fs::symlink_metadata(&linked).unwrap().is_symlink());
        std::fs::remove_file(&linked).unwrap();
        std::fs::write(&target, "of somebody else").unwrap();
        symlink(&target, &linked).unwrap();
        let error = read_or_make(&linked, || "third".to_owned()).unwrap_err();
        assert!(error.as_report().to_string().contains("symbolic link"), "{}", error.as_report());
    }
}
