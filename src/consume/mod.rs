//! Records to bounded batches, with assignment and seek as events for one owner.
