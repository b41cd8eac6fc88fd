//! Options as they are: codes and bytes, in order.

/// Options, each code once. Setting one again replaces its value and keeps its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    bytes: Vec<u8>,
    /// Code, start and length.
    index: Vec<(u8, u32, u32)>,
}

impl Options {
    /// Room for what most replies hold.
    pub(crate) fn with_room() -> Self {
        Self { bytes: Vec::with_capacity(256), index: Vec::with_capacity(24) }
    }

    /// Sets an option.
    pub(crate) fn set(&mut self, code: u8, value: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let entry = (code, start, value.len() as u32);
        match self.index.iter_mut().find(|it| it.0 == code) {
            Some(place) => *place = entry,
            None => self.index.push(entry),
        }
    }

    /// Sets an option to addresses.
    pub(crate) fn set_ips(&mut self, code: u8, ips: &[std::net::Ipv4Addr]) {
        let start = self.bytes.len() as u32;
        for ip in ips {
            self.bytes.extend_from_slice(&ip.octets());
        }
        let entry = (code, start, 4 * ips.len() as u32);
        match self.index.iter_mut().find(|it| it.0 == code) {
            Some(place) => *place = entry,
            None => self.index.push(entry),
        }
    }

    /// Adds to an option's value: RFC 3396 joins the parts of one code.
    pub(crate) fn append(&mut self, code: u8, part: &[u8]) {
        match self.get(code).map(<[u8]>::to_vec) {
            Some(before) => self.set(code, &[&before, part].concat()),
            None => self.set(code, part),
        }
    }

    /// Takes all of another's, over what is there.
    pub(crate) fn overlay(&mut self, other: &Self) {
        for (code, value) in other.iter() {
            self.set(code, value);
        }
    }

    /// Leaves one out.
    pub(crate) fn remove(&mut self, code: u8) {
        self.index.retain(|it| it.0 != code);
    }

    /// An option's value.
    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        self.index.iter().find(|it| it.0 == code).map(|it| self.value(it))
    }

    /// Codes and values in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.index.iter().map(|it| (it.0, self.value(it)))
    }

    fn value(&self, (_, start, length): &(u8, u32, u32)) -> &[u8] {
        &self.bytes[*start as usize..(*start + *length) as usize]
    }
}
