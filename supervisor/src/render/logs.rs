//! rsyslog's configuration: the journal, and the lines of consoles if they are wanted, to the site's servers in RFC 5424
//! over TCP or TLS. What cannot be sent waits on disk, up to a bound for each server, also over a restart.

use domain::Document;
use domain::document::LogTarget;

use super::{HEADER, Output};

/// Where rsyslog keeps queues and how far it has read the journal; Debian's unit may write there.
const WORK: &str = "/var/spool/rsyslog";
/// The lines of consoles. What was put aside ends with the Z of its time, `.gz` or `.gz.new`.
const CONSOLES: &str = "/srv/console/log/console.*[!Zzw]";

/// No file without a server: rsyslog's unit looks for it.
pub(super) fn files(document: &Document) -> Vec<Output> {
    if document.logs.targets.is_empty() {
        return Vec::new();
    }
    let mut files = vec![Output::file("/etc/pilothouse/logs-rsyslog.conf", 0o644, rsyslog(document))];
    for (index, target) in document.logs.targets.iter().enumerate() {
        if let Some(ca) = &target.ca {
            files.push(Output::file(ca_path(index), 0o644, ca.trim().to_owned() + "\n"));
        }
    }
    files
}

fn ca_path(index: usize) -> String {
    format!("/etc/pilothouse/logs-ca-{index}.pem")
}

fn rsyslog(document: &Document) -> String {
    let mut text = format!(
        "{HEADER}global(workDirectory=\"{WORK}\" maxMessageSize=\"16k\" parser.permitSlashInProgramName=\"on\"\n    \
         internalmsg.ratelimit.interval=\"60\" internalmsg.ratelimit.burst=\"20\")\n\
         # What stood in the journal before is sent too, once; journald has its own bound on rates.\n\
         module(load=\"imjournal\" StateFile=\"journal\" PersistStateInterval=\"100\" Ratelimit.Interval=\"0\"\n    \
         UsePidFromSystem=\"on\" IgnoreNonValidStatefile=\"on\")\n"
    );
    if document.logs.consoles {
        text.push_str(&format!(
            "module(load=\"imfile\")\ninput(type=\"imfile\" File=\"{CONSOLES}\" Tag=\"console\" Facility=\"local6\" \
             Severity=\"info\"\n    addMetadata=\"on\" freshStartTail=\"on\")\n"
        ));
    }
    for (index, target) in document.logs.targets.iter().enumerate() {
        text.push_str(&action(index, target));
    }
    text
}

/// Each server has a queue of its own, so that one that is away holds up no other.
fn action(index: usize, target: &LogTarget) -> String {
    let (host, port, queue) = (&target.host, target.port(), target.queue.0);
    // At its end rsyslog tries a server that is away over and over, for as long as timeoutActionCompletion says.
    let mut text = format!(
        "action(type=\"omfwd\" name=\"site-{index}\" target=\"{host}\" port=\"{port}\" protocol=\"tcp\"\n    \
         template=\"RSYSLOG_SyslogProtocol23Format\" TCP_Framing=\"octet-counted\" KeepAlive=\"on\"\n    \
         action.resumeRetryCount=\"-1\" action.resumeInterval=\"5\" action.resumeIntervalMax=\"60\"\n    \
         queue.type=\"LinkedList\" queue.size=\"10000\" queue.fileName=\"site-{index}\" queue.maxDiskSpace=\"{queue}\"\n    \
         queue.maxFileSize=\"{file}\" queue.saveOnShutdown=\"on\" queue.syncQueueFiles=\"off\"\n    \
         queue.checkpointInterval=\"100\" queue.timeoutEnqueue=\"0\" queue.timeoutActionCompletion=\"100\"",
        file = (queue / 4).clamp(1 << 18, 16 << 20),
    );
    if target.tls {
        let ca = target
            .ca
            .as_ref()
            .map_or_else(|| "/etc/ssl/certs/ca-certificates.crt".to_owned(), |_| ca_path(index));
        text.push_str(&format!(
            "\n    StreamDriver=\"ossl\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" \
             StreamDriverPermittedPeers=\"{host}\"\n    StreamDriver.CAFile=\"{ca}\""
        ));
    }
    text + ")\n"
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use domain::Document;

    use super::files;
    use crate::render::Kind;

    const RSYSLOGD: &str = "/usr/sbin/rsyslogd";
    const LIMIT: Duration = Duration::from_secs(60);

    fn rendered(logs: &str) -> Vec<(String, String)> {
        let text = format!("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"a.b\"\n{logs}");
        let files = files(&Document::parse(&text).unwrap());
        let text = |it: super::Output| match it.kind {
            Kind::File(_, text) => (it.path, text),
            Kind::Link(_) => panic!("{} is a link", it.path),
        };
        files.into_iter().map(text).collect()
    }

    #[test]
    fn without_a_server_there_is_no_file() {
        assert!(rendered("").is_empty() && rendered("[logs]\nconsoles = true\n").is_empty());
    }

    #[test]
    fn each_server_has_a_bounded_queue_of_its_own() {
        let files = rendered(
            "[logs]\nconsoles = true\n[[logs.targets]]\nhost = \"10.0.0.5\"\nqueue = \"1GiB\"\n[[logs.targets]]\n\
             host = \"log.a.b\"\ntls = true\nca = \"-----BEGIN CERTIFICATE-----\\nMII\\n-----END CERTIFICATE-----\"\n",
        );
        let text = &files[0].1;
        for part in [
            "target=\"10.0.0.5\" port=\"514\"",
            "queue.fileName=\"site-0\" queue.maxDiskSpace=\"1073741824\"",
            "target=\"log.a.b\" port=\"6514\"",
            "queue.fileName=\"site-1\" queue.maxDiskSpace=\"268435456\"",
            "StreamDriverPermittedPeers=\"log.a.b\"",
            "StreamDriver.CAFile=\"/etc/pilothouse/logs-ca-1.pem\"",
            "File=\"/srv/console/log/console.*[!Zzw]\"",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!((files.len(), files[1].0.as_str()), (2, "/etc/pilothouse/logs-ca-1.pem"));
        assert_eq!(text.matches("StreamDriver=\"ossl\"").count(), 1);
    }

    /// Ends with the test, however that ends.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// rsyslog's own: what comes while the server is away is sent when it is back.
    #[test]
    fn rsyslog_takes_it_and_waits_for_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let (path, socket) = (folder.path().join("rsyslog.conf"), folder.path().join("in.sock"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let tls = "[[logs.targets]]\nhost = \"log.a.b\"\ntls = true\n";
        let one = format!("[[logs.targets]]\nhost = \"127.0.0.1\"\nport = {}\n", address.port());
        let whole = &rendered(&format!("[logs]\nconsoles = true\n{one}{tls}"))[0].1;
        let work = folder.path().to_str().unwrap();
        std::fs::write(&path, whole.replace(super::WORK, work)).unwrap();
        let checked = Command::new(RSYSLOGD).args(["-N1", "-f"]).arg(&path).output();
        let checked = checked.expect("apt-get install rsyslog rsyslog-openssl");
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success() && !errors.contains("error"), "{errors}");

        // There is no journal here; a socket stands in its place.
        let text = rendered(&one)[0].1.replace(super::WORK, work).replace("Interval=\"5\"", "Interval=\"1\"");
        let (before, rest) = text.split_once("module(load=\"imjournal\"").unwrap();
        let rest = rest.split_once(")\n").unwrap().1;
        let input = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{}\")\n",
            socket.display()
        );
        std::fs::write(&path, format!("{before}{input}{rest}")).unwrap();
        let mut rsyslogd = Command::new(RSYSLOGD);
        rsyslogd.args(["-n", "-iNONE", "-f"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running(rsyslogd.spawn().unwrap());
        let mut told = BufReader::new(running.0.stderr.take().unwrap()).lines();
        let sender = UnixDatagram::unbound().unwrap();
        until(|| sender.send_to(b"<13>pilothouse-power: while it was away", &socket).is_ok());
        assert!(told.any(|it| it.unwrap().contains("cannot connect to 127.0.0.1")), "it found a server");
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        until(|| {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        let (mut stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("while it was away") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&bytes[..count]);
        }
        // Octets counted (RFC 6587), then RFC 5424's header.
        let text = String::from_utf8(received).unwrap();
        let entry = text.split_once(" <").map(|it| it.1).unwrap();
        assert!(entry.starts_with("13>1 ") && entry.contains(" pilothouse-power "), "{text}");
    }

    fn until(mut so: impl FnMut() -> bool) {
        let begun = std::time::Instant::now();
        while !so() {
            assert!(begun.elapsed() < LIMIT, "in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
