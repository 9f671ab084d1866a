//! The table of clients: each client library in each situation that decides whether a user misses
//! something. What comes of it stands in `docs/clients.md`.

mod clients;
mod crates;
mod scene;
mod situations;
pub(crate) mod versions;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

use self::{
    clients::{CLIENTS, Client},
    situations::Situation,
};

/// Cells that are tried at the same time: most of their time is waiting.
const AT_ONCE: usize = 8;

/// What came of one client in one situation.
struct Cell {
    client: &'static Client,
    situation: Situation,
    outcome: Result<(), String>,
}

#[test]
fn promises_1_2_and_6_every_client_gets_what_it_missed_once() {
    let cells = fill_in();
    assert!(!cells.is_empty(), "ONLY names neither a client nor a situation");
    println!("{}", as_text(&cells));
    let failures: Vec<_> =
        cells.iter().filter_map(|cell| Some((cell, cell.outcome.as_ref().err()?))).collect();
    for (cell, reason) in &failures {
        println!("\n{}, {}: {reason}", cell.client.title(), cell.situation.name());
    }
    assert!(
        failures.is_empty(),
        "{} of {} cells are not as they should be",
        failures.len(),
        cells.len()
    );
}

#[test]
fn the_page_about_clients_names_each_with_its_version() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md")).unwrap();
    for client in CLIENTS {
        let row = format!("| {} | {} |", client.name, client.package.version());
        assert!(page.contains(&row), "docs/clients.md has no row that begins with {row:?}");
    }
}

/// Tries each client in each situation, or those cells alone whose name has in it what `ONLY` of
/// the environment says. The situations that take longest begin.
fn fill_in() -> Vec<Cell> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let jobs = Situation::ALL
        .into_iter()
        .rev()
        .flat_map(|situation| CLIENTS.iter().map(move |client| (client, situation)));
    let jobs = jobs.filter(|(client, situation)| {
        format!("{}, {}", client.title(), situation.name()).contains(&only)
    });
    let (jobs, cells) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().unwrap().next();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some((client, situation)) = next() {
                    let outcome = try_out(client, situation);
                    cells.lock().unwrap().push(Cell { client, situation, outcome });
                }
            });
        }
    });
    cells.into_inner().unwrap()
}

/// Tries a client in a situation, or tells what was not as it should be.
fn try_out(client: &Client, situation: Situation) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(situation.show(client))))
        .map_err(|panic| reason(&*panic))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// The table, a row for each client.
fn as_text(cells: &[Cell]) -> String {
    let line = |name: &str, columns: [&str; 4]| {
        let [fresh, mid, filter, cuts] = columns;
        format!("\n{name:<70} {fresh:<8} {mid:<8} {filter:<8} {cuts:<8}")
    };
    let mut text = line("client", Situation::ALL.map(Situation::name));
    for client in CLIENTS {
        let found = |situation| {
            cells
                .iter()
                .find(|cell| std::ptr::eq(cell.client, client) && cell.situation == situation)
        };
        let columns = Situation::ALL.map(|situation| {
            match found(situation).map(|cell| cell.outcome.is_ok()) {
                Some(true) => "kept",
                Some(false) => "FAILED",
                None => "not run",
            }
        });
        text += &line(&client.title(), columns);
    }
    text
}
