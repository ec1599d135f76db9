//! The options of `sluice tx`.

use clap::{Args, Subcommand};

use super::Asked;

/// Options of `sluice tx`.
#[derive(Debug, Args)]
pub struct Tx {
    /// What to do
    #[command(subcommand)]
    pub task: TxTask,
}

/// What to do with transactions that await a decision.
#[derive(Debug, Subcommand)]
pub enum TxTask {
    /// Show those that await a decision, the oldest first
    List(Asked<ListTx>),
    /// Show one of them and its message
    Show(Asked<OneTx>),
    /// Commit one: consumers get its message
    Commit(Asked<OneTx>),
    /// Roll one back: nobody ever gets its message
    Rollback(Asked<OneTx>),
}

/// Options of `sluice tx list`.
#[derive(Debug, Args)]
pub struct ListTx {
    /// Only those of this producer group
    #[arg(long)]
    pub group: Option<String>,
    /// Only those for this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    pub count: usize,
}

/// Options of `sluice tx show`, `commit` and `rollback`.
#[derive(Debug, Args)]
pub struct OneTx {
    /// Its id: the unique key of its message, as `sluice tx list` shows it
    pub id: String,
}
