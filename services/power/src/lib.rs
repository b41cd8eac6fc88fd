//! Power of nodes through their BMCs.
