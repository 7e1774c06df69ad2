//! Why a message is the sentence of the explanation and not a language model's.

/// Why nobody was asked, or the answer will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The mode change is older than `coach.newer_than`.
    Old,
    /// There were as many calls within a minute as may be.
    MinuteSpent,
    /// There were as many calls within a day as may be.
    DaySpent,
    /// There were as many calls within a day about this user as may be.
    UserDaySpent,
    /// Too many calls have failed lately.
    Resting,
    /// Somebody was asked, and the service ended before the answer came: nobody is asked twice.
    CutOff,
    /// That it is disclosed could not be written down.
    Unwritten,
    /// Nobody answers.
    Unreachable,
    /// No answer came in time.
    Timeout,
    /// The answer has a status other than 200.
    Status,
    /// The answer is none, or too large.
    NotUnderstood,
    /// The answer has no text.
    Empty,
    /// The language model will not do it.
    Refused,
    /// The text is too long.
    TooLong,
    /// The text has what no message may have.
    Unfit,
}

impl Why {
    /// All of them.
    pub(crate) const ALL: [Self; 15] = [
        Self::Old,
        Self::MinuteSpent,
        Self::DaySpent,
        Self::UserDaySpent,
        Self::Resting,
        Self::CutOff,
        Self::Unwritten,
        Self::Unreachable,
        Self::Timeout,
        Self::Status,
        Self::NotUnderstood,
        Self::Empty,
        Self::Refused,
        Self::TooLong,
        Self::Unfit,
    ];

    /// Its name in messages, metrics and the log of accesses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::MinuteSpent => "minute_spent",
            Self::DaySpent => "day_spent",
            Self::UserDaySpent => "user_day_spent",
            Self::Resting => "resting",
            Self::CutOff => "cut_off",
            Self::Unwritten => "unwritten",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::NotUnderstood => "not_understood",
            Self::Empty => "empty",
            Self::Refused => "refused",
            Self::TooLong => "too_long",
            Self::Unfit => "unfit",
        }
    }

    /// Whether somebody was asked before it was known.
    pub(crate) fn is_of_a_call(self) -> bool {
        use Why::{Empty, NotUnderstood, Refused, Status, Timeout, TooLong, Unfit, Unreachable};
        matches!(
            self,
            Unreachable | Timeout | Status | NotUnderstood | Empty | Refused | TooLong | Unfit
        )
    }

    /// What is wrong with an answer, in words.
    pub(super) fn problem(self) -> String {
        format!("its answer will not do ({})", self.as_str())
    }

    /// Whether it says that whoever is asked does not work.
    pub(super) fn is_failure(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Status | Self::NotUnderstood)
    }
}
