//! The planner's promises: on random worlds, at the turns that matter, and how long it takes.

mod names;
mod properties;
mod ranges;
mod settled;
mod sound;
mod speed;
mod turns;
mod world;
