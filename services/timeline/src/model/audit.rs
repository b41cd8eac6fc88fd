//! The audit's chain: each record's hash goes over the record and the hash before, so that none can be changed, taken
//! out or put elsewhere unseen. What was removed for its age leaves its last hash behind, and the rest holds by it.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What is hashed first, so that no other text has these hashes.
const TAG: &[u8] = b"pilothouse-audit-1\n";

/// SHA-256, in hex where people see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When, to the microsecond.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Who says so: a service, `supervisor`, `ssh`.
    pub source: String,
    /// Who did it.
    pub actor: String,
    /// Where they were: an address, or `local`.
    pub whence: String,
    /// What they did.
    pub what: String,
    /// `ok`, `refused …`, `failed …`.
    pub result: String,
    /// The node, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A deed in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The head that it was done on, by its machine's id.
    pub head: String,
    /// Counted from 1, on each head.
    pub id: i64,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
    /// The hash of the record before; zeros for the first.
    pub previous: Hash,
    /// Over all of this.
    pub hash: Hash,
}

/// A place in a chain: a record's number and hash; 0 and zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The record's number.
    pub id: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Where a chain stands and where it begins, as its file beside the database has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// The last record.
    pub(crate) last: Mark,
    /// What was removed for its age, up to here.
    pub(crate) pruned: Mark,
}

/// The first record of a chain that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its number.
    pub id: i64,
    /// What is wrong with it.
    pub detail: String,
}

/// What became of looking at a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The head, by its machine's id.
    pub head: String,
    /// Records that were looked at.
    pub records: i64,
    /// All up to this one were removed for their age.
    pub pruned: i64,
    /// The last one that holds.
    pub last: Mark,
    /// The first one that does not.
    pub broken: Option<Broken>,
}

impl Hash {
    /// As the database has it; none: it is no hash.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Deed {
    /// Puts it behind another.
    pub(crate) fn follow(self, head: &str, before: Mark) -> Record {
        let id = before.id + 1;
        let hash = hash(head, id, &self, before.hash);
        Record { head: head.to_owned(), id, deed: self, previous: before.hash, hash }
    }
}

impl Record {
    /// Its place.
    pub(crate) fn mark(&self) -> Mark {
        Mark { id: self.id, hash: self.hash }
    }
}

/// Each part with its length before it: no two records have the same bytes.
fn hash(head: &str, id: i64, deed: &Deed, previous: Hash) -> Hash {
    let Deed { time, source, actor, whence, what, result, node } = deed;
    let (id, micros) = (id.to_string(), (time.unix_timestamp_nanos() / 1000).to_string());
    let mut context = Context::new(&SHA256);
    context.update(TAG);
    let node = node.as_deref().unwrap_or_default();
    for part in [head, &id, &micros, source, actor, whence, what, result, node] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(&previous.0);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Hash(bytes)
}

/// Looks at a chain, record by record.
#[derive(Debug)]
pub(crate) struct Check {
    verdict: Verdict,
    /// What the file beside the database says, if there is one.
    anchor: Option<Anchor>,
}

impl Check {
    /// Of a chain whose older records were removed up to a mark.
    pub(crate) fn new(head: &str, pruned: Mark, anchor: Option<Anchor>) -> Self {
        let mut verdict =
            Verdict { head: head.to_owned(), records: 0, pruned: pruned.id, last: pruned, broken: None };
        // The file is written before the removal.
        if anchor.as_ref().is_some_and(|it| pruned.id > it.pruned.id) {
            let detail = "older records were removed, and not for their age".to_owned();
            verdict.broken = Some(Broken { id: pruned.id, detail });
        }
        Self { verdict, anchor }
    }

    /// The next record; whether to go on.
    pub(crate) fn take(&mut self, record: &Record) -> bool {
        let expected = self.verdict.last.id + 1;
        let wrong = if self.verdict.broken.is_some() {
            return false;
        } else if record.id != expected {
            Some((expected, "it is missing".to_owned()))
        } else if hash(&record.head, record.id, &record.deed, record.previous) != record.hash {
            Some((record.id, "it is not what was written".to_owned()))
        } else if record.previous != self.verdict.last.hash {
            Some((record.id, "it does not follow from the one before".to_owned()))
        } else if self
            .anchor
            .as_ref()
            .is_some_and(|it| it.last.id == record.id && it.last.hash != record.hash)
        {
            Some((record.id, "another one was written in its place".to_owned()))
        } else {
            None
        };
        if let Some((id, detail)) = wrong {
            self.verdict.broken = Some(Broken { id, detail });
            return false;
        }
        self.verdict.records += 1;
        self.verdict.last = record.mark();
        true
    }

    /// The end of the chain, where it should be as the database has it.
    pub(crate) fn end(mut self, last: Mark) -> Verdict {
        let reached = self.verdict.last.id;
        let known = self.anchor.map_or(0, |it| it.last.id).max(last.id);
        if self.verdict.broken.is_none() && reached < known {
            let detail = format!("it is missing, and with it all up to {known}");
            self.verdict.broken = Some(Broken { id: reached + 1, detail });
        }
        self.verdict
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use time::OffsetDateTime;

    use super::{Anchor, Check, Deed, Mark, Record, Verdict};

    fn chain(count: i64) -> Vec<Record> {
        let mut last = Mark::default();
        let deed = |number: i64| Deed {
            time: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(number),
            source: "power".to_owned(),
            actor: "alice".to_owned(),
            whence: "10.0.0.1".to_owned(),
            what: format!("power off of nid{number:03}"),
            result: "ok".to_owned(),
            node: None,
        };
        let next = |number| {
            let record = deed(number).follow("head", last);
            last = record.mark();
            record
        };
        (1..=count).map(next).collect()
    }

    fn look(records: &[Record], pruned: Mark, last: Mark, anchor: Option<Anchor>) -> Verdict {
        let mut check = Check::new("head", pruned, anchor);
        for record in records {
            if !check.take(record) {
                break;
            }
        }
        check.end(last)
    }

    #[test]
    fn a_chain_holds_and_so_does_what_is_left_of_it() {
        let records = chain(9);
        let last = records[8].mark();
        let whole = look(&records, Mark::default(), last, None);
        assert!(whole.broken.is_none() && whole.records == 9 && whole.last == last);
        let rest = look(&records[4..], records[3].mark(), last, None);
        assert!(rest.broken.is_none() && rest.records == 5 && rest.pruned == 4);
        assert!(look(&[], Mark::default(), Mark::default(), None).broken.is_none());
    }

    #[test]
    fn whatever_is_done_to_a_record_shows() {
        let (good, start) = (chain(9), Mark::default());
        let last = good[8].mark();
        let broken = |records: &[Record]| look(records, start, last, None).broken.unwrap().id;
        for at in 0..9 {
            let number = i64::try_from(at).unwrap() + 1;
            let mut without = good.clone();
            without.remove(at);
            assert_eq!(broken(&without), number);
            let change = |of: fn(&mut Record)| {
                let mut changed = good.clone();
                of(&mut changed[at]);
                broken(&changed)
            };
            assert_eq!(change(|it| it.deed.actor = "bob".to_owned()), number);
            assert_eq!(change(|it| it.deed.time += time::Duration::microseconds(1)), number);
            assert_eq!(change(|it| it.deed.node = Some("x0".to_owned())), number);
            assert_eq!(change(|it| it.hash.0[31] ^= 1), number);
            assert_eq!(change(|it| it.previous.0[0] ^= 1), number);
        }
        let mut swapped = good.clone();
        let deed = swapped[3].deed.clone();
        swapped[3].deed = std::mem::replace(&mut swapped[4].deed, deed);
        assert_eq!(broken(&swapped), 4);
    }

    #[test]
    fn a_part_cannot_become_another() {
        let mut records = chain(1);
        records[0].deed.actor = "ali".to_owned();
        records[0].deed.whence = "ce10.0.0.1".to_owned();
        let last = records[0].mark();
        assert!(look(&records, Mark::default(), last, None).broken.is_some());
    }

    #[test]
    fn the_file_beside_the_database_knows_the_end_and_the_beginning() {
        let records = chain(9);
        let (start, last) = (Mark::default(), records[8].mark());
        let anchor = |last, pruned| Some(Anchor { last, pruned });
        // The end was taken away, and the table of chains made to fit.
        let cut = look(&records[..6], start, records[5].mark(), anchor(last, start));
        assert_eq!(cut.broken.unwrap().id, 7);
        // All of it was written anew, with one actor changed.
        let mut forged = chain(8);
        let deed = Deed { actor: "nobody".to_owned(), ..records[8].deed.clone() };
        let end = deed.follow("head", forged[7].mark());
        forged.push(end);
        let told = look(&forged, start, forged[8].mark(), anchor(last, start));
        assert_eq!(told.broken.unwrap().id, 9);
        // The beginning was taken away.
        let told = look(&records[4..], records[3].mark(), last, anchor(last, start));
        assert_eq!(told.broken.unwrap().id, 4);
        // A crash between the commit and the file.
        assert!(look(&records, start, last, anchor(records[6].mark(), start)).broken.is_none());
    }
}
