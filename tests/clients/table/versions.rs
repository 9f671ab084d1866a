//! Which versions of the clients are tried: those of the lock files.

use serde_json::Value;

/// Where a client comes from, and its name there.
pub(crate) enum Package {
    /// Debian's, whichever there is.
    Chromium,
    /// `package-lock.json`.
    Npm(&'static str),
    /// `requirements.txt`.
    Python(&'static str),
    /// `Cargo.lock`.
    Crate(&'static str),
}

impl Package {
    /// The version that is locked.
    pub(crate) fn version(&self) -> String {
        match self {
            Self::Chromium => "of Debian".to_owned(),
            Self::Npm(name) => {
                let lock: Value =
                    serde_json::from_str(include_str!("../package-lock.json")).unwrap();
                let version = &lock["packages"][format!("node_modules/{name}")]["version"];
                version
                    .as_str()
                    .unwrap_or_else(|| panic!("package-lock.json has no {name}"))
                    .to_owned()
            }
            Self::Python(name) => {
                version_between(include_str!("../requirements.txt"), &format!("\n{name}=="), "\n")
            }
            Self::Crate(name) => version_between(
                include_str!("../../../Cargo.lock"),
                &format!("name = \"{name}\"\nversion = \""),
                "\"",
            ),
        }
    }
}

fn version_between(lock: &str, before: &str, behind: &str) -> String {
    let rest =
        lock.split_once(before).unwrap_or_else(|| panic!("no {before:?} in the lock file")).1;
    rest.split(behind).next().unwrap_or_default().to_owned()
}
