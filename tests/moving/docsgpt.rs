//! `docs/moving/docsgpt.md`.

use serde_json::Value;

use crate::moving::{
    environment::Environment,
    page::{self, Step},
    walk::walk,
};

const PAGE: &str = "docs/moving/docsgpt.md";
/// Of Redis, Postgres and the backend that nginx passes to.
const PORTS: [u16; 3] = [6379, 5432, 7092];
/// Rejoin, and nginx in front of both.
const STARTED: [u16; 2] = [8080, 7091];
/// That of the page's `.env`.
const SECRET: &str = "2f8c61d0b7e94a35a1c07d5e6b9f3048c2d1e7a4f05b8c6930d4a7e2b1f6c859";

/// The tables of theirs that Rejoin has names for as well, as their own migrations make them.
const THEIR_TABLES: &str = "CREATE TABLE conversation_messages (id uuid PRIMARY KEY, user_id text); \
    CREATE TABLE message_events (message_id uuid NOT NULL REFERENCES conversation_messages (id) ON DELETE CASCADE, \
        sequence_no integer NOT NULL, event_type text NOT NULL, payload jsonb NOT NULL DEFAULT '{}', \
        created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (message_id, sequence_no)); \
    CREATE INDEX message_events_created_at_idx ON message_events (created_at)";

async fn environment() -> Environment {
    environment_with(SECRET).await
}

/// Their backend signs with this secret.
async fn environment_with(secret: &str) -> Environment {
    let environment = Environment::start(PORTS, &STARTED, secret).await;
    let postgres = &environment.postgres;
    postgres.run_sql("CREATE ROLE docsgpt LOGIN PASSWORD 'docsgpt'");
    postgres.run_sql("CREATE DATABASE docsgpt OWNER docsgpt");
    postgres.run_sql_in(
        "docsgpt",
        &format!("SET ROLE docsgpt; CREATE SCHEMA IF NOT EXISTS public; {THEIR_TABLES}"),
    );
    environment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_word_for_word() {
    walk(PAGE, &page::steps(PAGE, None), &environment().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_to_3_their_page_follows_their_publisher_through_cuts() {
    const EVENTS: usize = 240;
    let environment = environment().await;
    let mut steps = page::steps(PAGE, Some("## Going back"));
    // A connection that begins before the first event, and is cut after every 37 of them; two
    // programs write meanwhile.
    steps.push(Step {
        line: line!() as usize,
        script: format!(
            // Another browser, so another user.
            "TOKEN=$(curl -s http://127.0.0.1:7092/api/generate_token | cut -d '\"' -f 4)\n\
             WHO=$(python3 -c 'import base64, json, sys; print(json.loads(base64.urlsafe_b64decode(sys.argv[1].split(\".\")[1] + \"==\"))[\"sub\"])' $TOKEN)\n\
             node $TESTS/moving/page_client.mjs http://127.0.0.1:7091 \"$TOKEN\" {EVENTS} 37 > seen.txt & CLIENT=$!\n\
             until [ \"$(redis-cli -n 2 PUBSUB NUMSUB user:$WHO | tail -n 1)\" = 1 ]; do sleep 0.05; done\n\
             /usr/bin/python3 $TESTS/redis/foreign_writer.py $REDIS_PORT $WHO 0 {half} 2 & ONE=$!\n\
             /usr/bin/python3 $TESTS/redis/foreign_writer.py $REDIS_PORT $WHO 1 {half} 2\n\
             wait $ONE; wait $CLIENT; cat seen.txt; redis-cli -n 2 XRANGE user:$WHO:stream - + | grep -E '^[0-9]+-[0-9]+$'",
            half = EVENTS / 2,
        ),
        output: None,
    });
    let printed = walk(PAGE, &steps, &environment).await.pop().unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2 * EVENTS + 1, "{printed}");
    assert_eq!(lines[..EVENTS], lines[EVENTS + 1..], "a hole, a repeat or another order");
    let report: Value = serde_json::from_str(lines[EVENTS]).unwrap();
    assert_eq!(
        report["statuses"],
        serde_json::json!({ "200": report["connections"] }),
        "no answer but 200"
    );
    assert!(report["connections"].as_u64().unwrap() >= 7, "{report}");
}

/// What the page warns of: as Rejoin is set by default, it answers a token without `exp` by 401,
/// and their page makes a new user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_pages_setting_their_page_would_ask_for_a_new_user() {
    let mut steps = page::steps(PAGE, Some("### 3."));
    for step in &mut steps {
        let lines: Vec<&str> =
            step.script.lines().filter(|line| !line.contains("REQUIRE_EXP")).collect();
        step.script = lines.join("\n");
    }
    let script = "TOKEN=$(curl -s http://127.0.0.1:7092/api/generate_token | cut -d '\"' -f 4)\n\
                  (node $TESTS/moving/page_client.mjs http://127.0.0.1:8080 \"$TOKEN\" 1 1 2>&1 || true) | grep '^Error: three 401s'";
    steps.push(Step { line: line!() as usize, script: script.to_owned(), output: None });
    let printed = walk(PAGE, &steps, &environment().await).await.pop().unwrap();
    assert_eq!(printed.trim(), "Error: three 401s: this page would ask for a new user now");
}

/// A deployment whose settings are as the page says that they may be: a short secret, and their
/// spellings of truth and of URLs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_secret_and_their_own_spellings_are_accepted_where_the_page_says_so() {
    const SHORT: &str = "changeme";
    let mut steps = page::steps(PAGE, Some("### 4."));
    let mut replaced = 0;
    for step in &mut steps {
        for (from, to) in [
            (SECRET, SHORT),
            ("ENABLE_SSE_PUSH=True", "ENABLE_SSE_PUSH=t"),
            (
                "REJOIN_POSTGRES__URL=$POSTGRES_URI",
                "REJOIN_POSTGRES__URL=postgresql+psycopg://docsgpt:docsgpt@127.0.0.1:5432/docsgpt",
            ),
            (
                "REJOIN_AUTH__JWT__REQUIRE_EXP=false",
                "REJOIN_AUTH__JWT__REQUIRE_EXP=false\nREJOIN_AUTH__JWT__ALLOW_WEAK_SECRET=true",
            ),
        ] {
            replaced += step.script.matches(from).count();
            step.script = step.script.replace(from, to);
        }
    }
    assert_eq!(replaced, 4, "the page says all of these once");
    steps.push(Step {
        line: line!() as usize,
        script: "grep -c 'allow_weak_secret' rejoin.log".to_owned(),
        output: None,
    });
    let warnings = walk(PAGE, &steps, &environment_with(SHORT).await).await.pop().unwrap();
    assert_eq!(warnings.trim(), "1", "it is warned of, once");
}
