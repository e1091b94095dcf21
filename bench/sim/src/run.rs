//! What became of each request and batch of a run, and shares of it.

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    OnTime,
    /// Sent, and answered or given up after its due time.
    Late,
    /// Never sent.
    Shed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) arrived: u64,
    pub(crate) due: u64,
    pub(crate) ended: u64,
    pub(crate) work: u32,
    pub(crate) class: u8,
    pub(crate) sent: bool,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRecord {
    pub(crate) departed: u64,
    pub(crate) tasks: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) requests: Vec<Record>,
    pub(crate) batches: Vec<BatchRecord>,
    /// Nanoseconds that went into copies.
    pub(crate) hedged: u64,
    /// Arrivals, completions and timeouts that were played.
    pub(crate) events: u64,
    /// When it was cut short.
    pub(crate) cut_at: Option<u64>,
}

impl Run {
    fn within(&self, from_ms: f64, to_ms: f64) -> impl Iterator<Item = &Record> {
        let (from, to) = ((from_ms * 1e6) as u64, (to_ms * 1e6) as u64);
        self.requests.iter().filter(move |request| request.arrived >= from && request.arrived < to)
    }

    /// Share of the requests that came in this stretch and ended so; nothing missed where none came.
    fn share(&self, from_ms: f64, to_ms: f64, end: impl Fn(End) -> bool) -> f64 {
        let (mut all, mut such) = (0usize, 0usize);
        for request in self.within(from_ms, to_ms) {
            all += 1;
            such += usize::from(end(request.end));
        }
        if all == 0 { f64::from(u8::from(end(End::OnTime))) } else { such as f64 / all as f64 }
    }

    /// Share of the requests that came in this stretch and were answered on time.
    pub(crate) fn attained(&self, from_ms: f64, to_ms: f64) -> f64 {
        self.share(from_ms, to_ms, |end| end == End::OnTime)
    }

    pub(crate) fn late(&self, from_ms: f64, to_ms: f64) -> f64 {
        self.share(from_ms, to_ms, |end| end == End::Late)
    }

    /// Late ones as a share of what was sent.
    pub(crate) fn late_of_sent(&self, from_ms: f64, to_ms: f64) -> f64 {
        let shed = self.share(from_ms, to_ms, |end| end == End::Shed);
        self.late(from_ms, to_ms) / (1.0 - shed).max(f64::MIN_POSITIVE)
    }

    /// Answered on time, and all, of one class.
    pub(crate) fn of_class(&self, class: u8, from_ms: f64, to_ms: f64) -> (f64, f64) {
        let of_class = || self.within(from_ms, to_ms).filter(|request| request.class == class);
        let on_time = of_class().filter(|request| request.end == End::OnTime).count();
        (on_time as f64, of_class().count() as f64)
    }

    pub(crate) fn class_attained(&self, class: u8, from_ms: f64, to_ms: f64) -> f64 {
        let (on_time, all) = self.of_class(class, from_ms, to_ms);
        if all == 0.0 { 1.0 } else { on_time / all }
    }

    /// Answers on time per millisecond, of those given in this stretch.
    pub(crate) fn answered(&self, from_ms: f64, to_ms: f64) -> f64 {
        let (from, to) = ((from_ms * 1e6) as u64, (to_ms * 1e6) as u64);
        let given =
            self.requests.iter().filter(|request| request.ended >= from && request.ended < to);
        given.filter(|request| request.end == End::OnTime).count() as f64 / (to_ms - from_ms)
    }

    pub(crate) fn ended(&self, end: End) -> u64 {
        self.requests.iter().filter(|request| request.end == end).count() as u64
    }
}
