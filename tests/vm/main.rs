//! Whole machines: virtual nodes boot from the services as processes, and from the head image.

mod appliance;
mod join;
mod netboot;
mod services;
mod setup;
