//! Where HTTP/1.1 is read and written (RFC 9112): heads in one go, bodies piece by piece. Pure.

mod body;
mod field;
mod head;

pub(crate) use body::{Body, Framing};
pub(crate) use head::{Answer, Bad, Client, Request, read_answer, read_request, slots, write_request};
