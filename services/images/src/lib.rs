//! NOTE to colleagues: images is being written by the lead now; leave this crate alone.
