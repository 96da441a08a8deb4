//! How a conversation ends without losing anything (P6, P9, P10, P21, P22, P23).
//!
//! [`table`] crosses every way to answer with every way to stop and with every transport. [`variants`] has the
//! adapters of that table, and [`ways`] has the stops and the peers. The other modules have one subject each.

mod cut_messages;
mod drains;
mod groups;
mod half_close;
mod holds;
mod lost_holds;
mod on_close;
mod stops;
mod table;
mod variants;
mod ways;
