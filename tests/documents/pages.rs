//! The pages of the repository.

use std::{env, fs, path::PathBuf};

/// Where a page of the repository is.
pub(crate) fn path(page: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(page)
}

/// What a page says.
pub(crate) fn text(page: &str) -> String {
    fs::read_to_string(path(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// A page that is generated says what it was generated to; with `RENEW_DOCS` in the environment it
/// is written anew.
pub(crate) fn is_up_to_date(page: &str, generated: &str) {
    if env::var_os("RENEW_DOCS").is_some() {
        fs::write(path(page), generated).unwrap();
        return;
    }
    let written = fs::read_to_string(path(page)).unwrap_or_default();
    let differing = written
        .lines()
        .zip(generated.lines())
        .position(|(written, generated)| written != generated);
    assert!(
        written == generated,
        "{page} is not what would be generated now (line {}): RENEW_DOCS=1 cargo test --test repository",
        differing.map_or_else(
            || written.lines().count().min(generated.lines().count()) + 1,
            |line| line + 1
        ),
    );
}
