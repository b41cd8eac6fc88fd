//! Serial consoles: every line logged, any number of readers.
