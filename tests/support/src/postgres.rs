//! A private Postgres: in a folder of its own, on a socket and a port of its own, with power over
//! its life.
//!
//! It is what Debian's package `postgresql` brings, found where that puts it or by the path; no
//! server that runs already is ever touched.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{PATIENCE, ports::reserve_port, soon};

/// What every private server is told: it commits as by default, but what the kernel has counts as
/// written, since no test cuts the machine's power; so it is quick to come back after a kill.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 400
shared_buffers = 128MB
fsync = off
synchronous_commit = on
checkpoint_timeout = 30s
log_min_messages = warning
";

/// A private server. It ends with this value, and at the latest with this process.
pub struct PostgresServer {
    folder: PathBuf,
    port: u16,
    /// Waits for the end of its input, which is ours, and then ends the server.
    cleanup: Child,
}

/// Ends the server of a folder, children that were stopped included, once nobody holds the other
/// end of the input.
const CLEANUP_SCRIPT: &str = r#"
cat >/dev/null
postmaster=$(cat "$1/pid" 2>/dev/null) && children=$(cat "/proc/$postmaster/task/$postmaster/children" 2>/dev/null)
kill -KILL $postmaster $children 2>/dev/null
for _ in 1 2 3; do rm -rf "$1" && break; sleep 0.1; done
"#;

impl PostgresServer {
    /// Makes a server and starts it.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more settings, as lines of `postgresql.conf`.
    pub async fn start_with(settings: &str) -> Self {
        let folder = fresh_folder();
        run_to_end(
            as_user(&program("initdb"))
                .args([
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                    "-D",
                ])
                .arg(folder.join("data")),
        );
        Self::start_in(folder, &format!("{SETTINGS}{settings}")).await
    }

    /// Makes a standby that follows this server, and starts it.
    pub async fn start_standby(&self) -> Self {
        let folder = fresh_folder();
        run_to_end(
            as_user(&program("pg_basebackup"))
                .args([
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "--dbname",
                    &self.url(),
                    "-D",
                ])
                .arg(folder.join("data")),
        );
        Self::start_in(folder, "").await
    }

    async fn start_in(folder: PathBuf, settings: &str) -> Self {
        let conf = folder.join("data").join("postgresql.conf");
        let socket = format!("unix_socket_directories = '{}'\n", folder.display());
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + settings + "\n" + &socket).unwrap();
        let mut cleanup = Command::new("sh");
        cleanup
            .args(["-c", CLEANUP_SCRIPT, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self { folder, port: reserve_port(), cleanup: cleanup.spawn().unwrap() };
        server.run();
        server.answers().await;
        server
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        assert_eq!(self.run_sql("SELECT pg_promote()").trim(), "t");
    }

    /// The URL of its database `postgres`, for its superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL for another role.
    pub fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres?sslmode=prefer", self.port)
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same as an address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Makes a file of its data its own, for nobody else to read.
    pub fn adopt(&self, file: &str) {
        let path = self.data().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give_to_postgres(&path);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Has its superuser run statements, and gives what they print, a row a line.
    pub fn run_sql(&self, sql: &str) -> String {
        self.run_sql_in("postgres", sql)
    }

    /// The same in another database.
    pub fn run_sql_in(&self, database: &str, sql: &str) -> String {
        let mut psql = self.psql(sql);
        psql.args(["--dbname", &self.url().replace("/postgres?", &format!("/{database}?"))]);
        let done = psql.output().unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Gives a setting another value, for connections that are open as well. The server takes it up
    /// some time after it was asked to: it tells its connections, and only then accepts another, so
    /// that a new one that knows of it comes last.
    pub async fn set(&self, setting: &str, value: &str) {
        self.run_sql(&format!("ALTER SYSTEM SET {setting} = {value}"));
        self.run_sql("SELECT pg_reload_conf()");
        until("the setting to be taken up", || {
            self.run_sql(&format!("SHOW {setting}")).trim() == value
        })
        .await;
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(program("psql"));
        command.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
        ]);
        command
            .arg(self.url())
            .args(["--command", sql])
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null());
        command
    }

    /// Kills it, with all its processes, at once: what it had not written down is lost.
    pub fn kill(&self) {
        // One that was just being started may be missed at first. While it lives, no other server
        // starts on this data.
        while !self.processes().is_empty() {
            self.signal_all("KILL");
            std::thread::yield_now();
        }
    }

    /// Starts it after a kill, on the same port, and waits until it answers.
    pub async fn restart(&self) {
        self.run();
        self.answers().await;
    }

    /// Stops all its processes where they are: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn run(&self) {
        let log =
            fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut postgres = as_user(&program("postgres"));
        postgres.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        let child = postgres
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        fs::write(self.folder.join("pid"), child.id().to_string()).unwrap();
        // Somebody has to wait for it, so that it does not stay behind as a zombie when it is
        // killed.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait()
        });
    }

    async fn answers(&self) {
        let asked = || self.psql("SELECT 1").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let answering = async {
            while !asked().is_ok_and(|status| status.success()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, answering).await.is_ok(),
            "the private Postgres does not answer:\n{}",
            self.log()
        );
    }

    fn signal_all(&self, name: &str) {
        // The postmaster first, so that it starts nothing new.
        for process in self.processes() {
            let _ = Command::new("kill")
                .arg(format!("-{name}"))
                .arg(process.to_string())
                .stderr(Stdio::null())
                .status();
        }
    }

    /// The postmaster, and all others that work in its folder, also those that it has left behind.
    fn processes(&self) -> Vec<u32> {
        let postmaster = fs::read_to_string(self.folder.join("pid")).unwrap().parse().ok();
        let data = fs::canonicalize(self.data()).unwrap();
        let all = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let works_here = |process: &u32| {
            fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|folder| folder == data)
        };
        let mut processes: Vec<u32> =
            all.filter(|process| works_here(process) && is_alive(*process)).collect();
        processes.sort_by_key(|process| Some(*process) != postmaster);
        processes
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.cleanup.stdin.take());
        let _ = self.cleanup.wait();
    }
}

/// Waits until a condition holds that a program of Postgres is asked for.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, waiting).await;
}

fn is_alive(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

fn run_to_end(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Postgres refuses to run as root.
pub(crate) fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A folder that the server's user may write to.
pub(crate) fn fresh_folder() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // A socket's path has at most 107 bytes.
    let folder = std::env::temp_dir().join(format!("rejoin-pg-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    give_to_postgres(&folder);
    folder
}

fn give_to_postgres(path: &Path) {
    if is_root() {
        let given = Command::new("chown").arg("postgres:postgres").arg(path).status().unwrap();
        assert!(given.success());
    }
}

/// A program of Postgres: of the folder that `POSTGRES_BIN` names, where it is there; else of the
/// latest version that Debian installed, or by the path.
pub fn program(name: &str) -> PathBuf {
    let chosen = std::env::var_os("POSTGRES_BIN")
        .map(|folder| PathBuf::from(folder).join(name))
        .filter(|path| path.exists());
    chosen.unwrap_or_else(|| installed(name))
}

fn installed(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            Some((
                version.file_name().to_str()?.parse().ok()?,
                version.path().join("bin").join(name),
            ))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}
