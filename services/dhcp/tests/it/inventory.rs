//! An inventory that says what a test wants, over the real feed protocol: `/snapshot` and `/changes`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// Answers until the test ends; the file `inventory.sock` is what a service finds it by.
pub(super) struct Inventory {
    lines: Lines,
    socket: std::path::PathBuf,
}

const EPOCH: &str = "00000000-0000-4000-8000-000000000001";

impl Inventory {
    /// Starts with one node, `x1000c0s0b0n0`, NID 1, without an interface.
    pub(super) fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let socket = folder.join("inventory.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let lines: Lines = Arc::default();
        let shared = Arc::clone(&lines);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), lines) = (stream, Arc::clone(&shared)) else { return };
                std::thread::spawn(move || answer(stream, &lines));
            }
        });
        Self { lines, socket }
    }

    /// Gives a MAC to the node, with these addresses.
    pub(super) fn set_interface(&self, mac: &str, addresses: &[&str]) {
        let id = mac.replace(':', "");
        let addresses: Vec<_> = addresses.iter().map(|it| json!({ "address": it })).collect();
        let row = json!({"id": id, "mac": mac, "component": "x1000c0s0b0n0", "addresses": addresses});
        let mut lines = self.lines.0.lock().unwrap();
        let seq = lines.len() + 2;
        let change = json!({"seq": seq, "kind": "interface", "id": id, "row": row});
        lines.push(format!("{change}\n{}\n", json!({ "seq": seq })));
        self.lines.1.notify_all();
    }

    /// Is not to be found from now on.
    pub(super) fn vanish(self) {
        std::fs::remove_file(&self.socket).unwrap();
    }
}

fn answer(mut stream: UnixStream, lines: &Lines) {
    let mut head = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    head.read_line(&mut first).unwrap();
    if first.starts_with("GET /snapshot") {
        let header = json!({"epoch": EPOCH, "seq": 1, "schema": 1});
        let node = json!({"id": "x1000c0s0b0n0", "nid": 1});
        let row = json!({"kind": "component", "id": "x1000c0s0b0n0", "row": node});
        let body = format!("{header}\n{row}\n");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        return;
    }
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let mark = format!("{}\n", json!({ "seq": 1 }));
    write!(stream, "{:x}\r\n{mark}\r\n", mark.len()).unwrap();
    let mut sent = 0;
    loop {
        let known = lines.0.lock().unwrap();
        let known = lines.1.wait_while(known, |it| it.len() <= sent).unwrap();
        let text = known[sent..].concat();
        sent = known.len();
        drop(known);
        if write!(stream, "{:x}\r\n{text}\r\n", text.len()).is_err() {
            return; // The service is gone.
        }
    }
}
