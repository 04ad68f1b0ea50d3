mod classic;
mod consumer;
mod consumer_model;
mod errors;
mod migration;
mod model;
mod offsets;
mod script;

use super::*;
