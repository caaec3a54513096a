//! Only the user who runs Tally may read its data: messages, and the tokens with which they can be written.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::path::Path;

use private_files::private_file;

/// Writes a whole file, and creates it for its owner alone if it is missing.
pub(crate) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut file = private_file().create(true).truncate(true).open(path)?;
    io::Write::write_all(&mut file, content.as_bytes())
}

/// Creates an empty file for its owner alone, unless there is a file. SQLite gives the files that it makes beside a
/// database the permissions of the database.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match private_file().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory for its owner alone, and those above it as usual. Leaves one that exists as it is.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
    }
}

/// Takes a file's permissions from everybody but its owner. Earlier releases created files that everybody may read.
#[cfg(unix)]
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && private_files::is_open_to_others(&metadata) => metadata,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut permissions = metadata.permissions();
    permissions.set_mode(permissions.mode() & !private_files::OTHERS);
    std::fs::set_permissions(path, permissions)
}

#[cfg(not(unix))]
pub(crate) fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}
