//! Resident memory of a connection that only listens.

use std::time::Duration;

use crate::{readers, server::ServerProcess};

/// After a storm of connections the allocator gives pages back within ten seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(12);

pub(crate) async fn measure(connections: usize) {
    let server = ServerProcess::rejoin();
    readers::with_readers(async {
        // A first hundred brings the runtime and its buffers to their size.
        let request = server.subscribe_request();
        let _warm = readers::open(server.address, &request, 100).await;
        let before = server.resident_bytes();
        let _idle = readers::open(server.address, &request, connections).await;
        let each = |resident: usize| resident.saturating_sub(before) as f64 / connections as f64 / 1_024.0;
        let at_once = each(server.resident_bytes());
        tokio::time::sleep(SETTLED_AFTER).await;
        let settled = each(server.resident_bytes());
        println!(
            "idle: {connections} authenticated connections cost {settled:.2} KiB of resident memory each, \
             {at_once:.2} KiB right after all came at once"
        );
    })
    .await;
}
