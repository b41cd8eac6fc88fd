//! Every method, four kinds of caller, random bodies: nothing falls, and nothing happens without the right.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use zbus::message::Flags;
use zbus::{Message, MessageStream, Variant};

use crate::fake::{LIMIT, Lab};

const NAME: &str = "org.pilothouse.Supervisor1";
const ROOT: &str = "/org/pilothouse/Supervisor1";
/// Bodies for each method and caller: a few on every run, a million calls in all when everything is to be run.
const FEW: usize = 60;
const MANY: usize = 19_300;

/// What changes something: path below the root, interface below ours, method.
const METHODS: [(&str, &str, &str); 13] = [
    ("", "Config", "Apply"),
    ("", "Config", "StartApply"),
    ("", "Config", "Check"),
    ("", "Config", "Confirm"),
    ("", "Config", "Rollback"),
    ("", "Config", "Cancel"),
    ("", "Config", "Read"),
    ("", "Config", "History"),
    ("/service/boot", "Service", "Start"),
    ("/service/boot", "Service", "Stop"),
    ("/service/boot", "Service", "Restart"),
    ("/certificate/gateway", "Certificate", "Renew"),
    ("/service/nobody", "Service", "Stop"),
];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// polkit says yes.
    Allowed,
    /// polkit says no.
    Denied,
    /// polkit could ask for a password, and gets none.
    Asked,
    /// polkit is not there.
    Unknown,
}

/// xorshift64*: the same bodies on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }

    fn text(&mut self) -> String {
        let words =
            ["", "base", "reason", "at", "version = 1\n", "\u{10FFFF}", "../../etc/passwd", "a\nb", "%s%n"];
        let word = words[usize::try_from(self.roll(words.len() as u64)).unwrap()];
        word.repeat(usize::try_from(1 + self.roll(40)).unwrap())
    }

    fn number(&mut self) -> u64 {
        [0, 1, 2, u64::MAX, self.0][usize::try_from(self.roll(5)).unwrap()]
    }

    fn file(&mut self) -> zbus::OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..self.roll(300)).map(|_| u8::try_from(self.roll(256)).unwrap()).collect();
        let fd = match self.roll(3) {
            0 => OwnedFd::from(std::fs::File::open("/dev/zero").unwrap()),
            1 => OwnedFd::from(std::fs::File::open("/").unwrap()),
            _ => {
                file.write_all(&bytes).unwrap();
                OwnedFd::from(file)
            }
        };
        fd.into()
    }

    fn value(&mut self) -> Variant<'static> {
        match self.roll(5) {
            0 => Variant::from(self.number()),
            1 => Variant::from(self.text()),
            2 => Variant::from(self.roll(2) == 0),
            3 => Variant::from(vec![self.text(), self.text()]),
            _ => Variant::from(f64::NAN),
        }
    }

    fn options(&mut self) -> std::collections::HashMap<String, Variant<'static>> {
        (0..self.roll(4)).map(|_| (self.text(), self.value())).collect()
    }

    /// A call with a body of one of the shapes that methods have, or of none of them.
    fn call(&mut self, method: (&str, &str, &str), caller: Caller) -> Message {
        let (path, interface, member) = method;
        let builder = Message::method_call(format!("{ROOT}{path}"), member).destination(NAME);
        let mut builder = builder.interface(format!("{NAME}.{interface}"));
        if caller == Caller::Asked {
            builder = builder.with_flags(Flags::ALLOW_INTERACTIVE_AUTH);
        }
        match self.roll(9) {
            0 => builder.build(&()),
            1 => builder.build(&(self.number(),)),
            2 => builder.build(&(self.number(), self.options())),
            3 | 4 => builder.build(&(self.file(), self.options())),
            5 => builder.build(&(self.file(),)),
            6 => builder.build(&(self.text(), self.number())),
            7 => builder.build(&(vec![self.value(), self.value()],)),
            _ => builder.build(&(self.options(), self.value())),
        }
        .unwrap()
    }
}

/// Sends a call and waits for its answer, whichever.
async fn send(lab: &Lab, call: &Message) -> bool {
    let mut answers = MessageStream::from(&lab.caller);
    lab.caller.send(call).await.unwrap();
    let serial = call.primary_header().serial_num();
    let answer = async {
        use futures_util::StreamExt as _;
        loop {
            let message = answers.next().await.unwrap().unwrap();
            if message.header().reply_serial() == Some(serial) {
                return message.message_type() == zbus::message::Type::MethodReturn;
            }
        }
    };
    tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("no answer to {call:?}"))
}

/// What a call must leave as it was.
fn state(lab: &Lab) -> (Vec<String>, usize) {
    let calls = lab.calls().into_iter().filter(|it| !it.starts_with("polkit")).collect();
    (calls, std::fs::read_dir(lab.folder.path().join("config")).unwrap().count())
}

#[tokio::test]
async fn nothing_falls_and_nothing_happens_without_the_right() {
    let all = std::env::var("PILOTHOUSE_TESTS").is_ok_and(|it| it == "all");
    let bodies = if all { MANY } else { FEW };
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for caller in [Caller::Denied, Caller::Asked, Caller::Unknown, Caller::Allowed] {
        let lab = Lab::new().await;
        let folder = lab.folder.path().join("sockets/gateway");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("certificates.json"), r#"[{"id":"gateway"}]"#).unwrap();
        let mut supervisor = lab.supervisor("/bin/true").await;
        lab.script.lock().unwrap().denied = caller != Caller::Allowed;
        if caller == Caller::Unknown {
            lab.systemd.release_name("org.freedesktop.PolicyKit1").await.unwrap();
        }
        let before = state(&lab);
        for method in METHODS {
            for _ in 0..bodies {
                let call = dice.call(method, caller);
                let worked = send(&lab, &call).await;
                let reads = ["Read", "History"].contains(&method.2);
                assert!(reads || caller == Caller::Allowed || !worked, "{caller:?} {call:?}");
            }
            let script = &lab.script;
            if caller != Caller::Allowed {
                assert_eq!(state(&lab), before, "{caller:?} {method:?}");
            }
            script.lock().unwrap().calls.clear();
        }
        assert!(supervisor.try_wait().unwrap().is_none(), "{caller:?}: it fell");
        let again = tokio::time::timeout(Duration::from_secs(30), lab.call("nothing", "Start")).await;
        assert!(again.unwrap().is_err(), "it answers still");
    }
}
