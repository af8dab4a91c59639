//! `millrace logs`.

use std::collections::VecDeque;
use std::io::{self, Write, stdout};

use serde_json::Value;

use super::ClientError;
use super::server::Server;
use super::table::{cell, printable};
use crate::cli::LogsArgs;

pub async fn run(args: LogsArgs) -> Result<(), ClientError> {
    let server = Server::new(&args.server)?;
    let id = server.workload_id(&args.workload).await?;
    let stream = args.stream.as_deref().map(|stream| ("stream", stream));
    if args.follow {
        let tail = args.tail.to_string();
        let mut query = vec![("tail", tail.as_str())];
        query.extend(stream);
        let path = ["api", "workloads", &id, "logs", "stream"];
        return server
            .follow(&path, &query, |data| {
                // Taken and let go for each line: standard output may be slow.
                let mut out = stdout().lock();
                print(&mut out, data, args.server.json)
            })
            .await;
    }
    // The API pages from the oldest on, and people want to see the latest.
    let mut kept: VecDeque<Value> = VecDeque::new();
    let mut after = "0".to_owned();
    loop {
        let mut query = vec![("after", after.as_str()), ("limit", "1000")];
        query.extend(stream);
        let path = ["api", "workloads", &id, "logs"];
        let answer = server.get(&path, &query).await?;
        for item in answer.items() {
            kept.push_back(item.clone());
        }
        let over = kept.len().saturating_sub(args.tail as usize);
        kept.drain(..over);
        match answer.json["next"].as_u64() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    let mut out = stdout().lock();
    for entry in &kept {
        print(&mut out, &entry.to_string(), args.server.json)?;
    }
    Ok(())
}

fn print(out: &mut impl Write, data: &str, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{data}");
    }
    let entry: Value = serde_json::from_str(data).unwrap_or_default();
    let line = entry["line"].as_str().unwrap_or_default();
    let stream = cell(&entry["stream"]);
    writeln!(
        out,
        "{} {stream:<6} {}",
        cell(&entry["at"]),
        printable(line)
    )
}
