//! What arrives from those who mean harm, and what merely is broken: nothing is sent on wrongly, nobody is answered who should
//! not be, and nothing is remembered of it.

mod answered;
#[path = "../outside/world.rs"]
mod base;
mod headers;
mod lengths;
mod recycled;
mod scenes;
mod sources;
mod tunnel;
mod world;
