//! Files that only the user who runs Tally may read: messages, tokens with which they can be written, and secrets.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The most bytes of a secret that [`read_secret`] reads. Secrets are far shorter.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Permissions of files for everybody but their owner.
#[cfg(unix)]
pub const OTHERS: u32 = 0o077;

/// Options that read and write a file, and create it for its owner alone if the caller adds `create`.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Reads the secret in a file, or in the file that a symbolic link leads to. Never waits: whatever is no regular file is refused, such as a
/// pipe, which might never have a writer.
///
/// # Errors
/// If the file cannot be read, is no regular file, is longer than [`MAX_SECRET_BYTES`] or is not UTF-8.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let mut options = File::options();
    options.read(true);
    // Otherwise the opening of a pipe waits for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file; write the secret into one"));
    }
    let mut text = String::new();
    if file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is too long for a file of secrets"));
    }
    Ok(text)
}

/// Whether others than the owner have any right to the file.
#[cfg(unix)]
pub fn is_open_to_others(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & OTHERS != 0
}

/// Whether others than the owner have any right to the file, which is not known here.
#[cfg(not(unix))]
pub const fn is_open_to_others(_: &Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_or_through_a_link_to_one() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "secret\n").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(read_secret(path).unwrap(), "secret\n");
        }
    }

    /// Nobody writes into the pipe: whoever waited for that would wait for ever.
    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let directory = tempfile::TempDir::new().unwrap();
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        symlink(&pipe, &link).unwrap();
        for path in [&*pipe, &link, directory.path(), Path::new("/dev/zero")] {
            let error = read_secret(path).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{}: {error}", path.display());
        }
    }

    #[test]
    fn what_is_too_long_for_a_secret_is_refused() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("file");
        for (bytes, is_read) in [(MAX_SECRET_BYTES, true), (MAX_SECRET_BYTES + 1, false)] {
            std::fs::write(&path, "x".repeat(usize::try_from(bytes).unwrap())).unwrap();
            assert_eq!(read_secret(&path).is_ok(), is_read, "{bytes}");
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("file");
        let file = private_file().create_new(true).open(&path).unwrap();
        assert!(!is_open_to_others(&file.metadata().unwrap()));
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o660, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&std::fs::metadata(&path).unwrap()), is_open, "{mode:o}");
        }
    }
}
