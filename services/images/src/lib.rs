//! Kernels, initrds and root file systems over HTTP, with ranges.
