//! Calendar expressions as systemd.time(7) describes them under CALENDAR EVENTS, such as `02:00`, `Sun 04:00`,
//! `Mon..Fri *-*-1,15 06,18:30` or `*-*~1 03:00 Europe/Helsinki`. Seconds are whole.

mod component;

use std::{fmt, str::FromStr, time::Duration};

use jiff::{
    ToSpan, Zoned,
    civil::{Date, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use component::Component;

/// The range of years that is searched: the calendar repeats after 400 years, and systemd's years end with 2199.
const MAX_DAYS: u32 = 366 * 40;
const YEARS: (i32, i32) = (1970, 2199);
/// Number of occurrences before and after a time from which the interval is derived.
const NEIGHBOURS: usize = 8;

const SHORTHANDS: [(&str, &str); 10] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
];

const WEEKDAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// A calendar expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    /// Whether each weekday matches, Monday first.
    weekdays: [bool; 7],
    year: Component,
    month: Component,
    day: Component,
    /// Whether days are counted from the end of the month, where 1 is the last day.
    from_end: bool,
    hour: Component,
    minute: Component,
    second: Component,
    zone: Option<TimeZone>,
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Calendar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        parse(text).map_err(|fault| {
            format!("{text:?} is not a calendar expression: {fault}; examples: \"02:00\", \"Sun 04:00\", \"Mon..Fri 22:30\"")
        })
    }
}

fn parse(text: &str) -> Result<Calendar, String> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut zone = None;
    if let Some(last) = words.last().filter(|_| words.len() > 1)
        && let Some(found) = parse_zone(last)?
    {
        zone = Some(found);
        words.pop();
    }
    let expanded;
    if let [only] = words.as_slice()
        && let Some((_, long)) = SHORTHANDS.iter().find(|(short, _)| short.eq_ignore_ascii_case(only))
    {
        expanded = *long;
        words = expanded.split(' ').collect();
    }
    let mut calendar = Calendar {
        text: text.to_owned(),
        weekdays: [true; 7],
        year: Component::Any,
        month: Component::Any,
        day: Component::Any,
        from_end: false,
        hour: Component::parse("0", 0, 23)?,
        minute: Component::parse("0", 0, 59)?,
        second: Component::parse("0", 0, 59)?,
        zone,
    };
    let mut rest = words.as_slice();
    // Weekdays may be separated by commas with spaces after them.
    let mut days = String::new();
    while let [word, after @ ..] = rest
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        if !days.is_empty() && !days.ends_with(',') {
            return Err("weekdays are separated by commas".to_owned());
        }
        days.push_str(word);
        rest = after;
    }
    if !days.is_empty() {
        calendar.weekdays = parse_weekdays(days.trim_end_matches(','))?;
    }
    match rest {
        [] if !days.is_empty() => {}
        [one] if one.contains(':') => calendar.set_time(one)?,
        [one] => calendar.set_date(one)?,
        [date, time] => {
            calendar.set_date(date)?;
            calendar.set_time(time)?;
        }
        [] => return Err("it is empty".to_owned()),
        _ => return Err("it has words besides weekdays, a date, a time and a time zone".to_owned()),
    }
    calendar.require_a_day()?;
    Ok(calendar)
}

/// The time zone, if the word looks like one.
fn parse_zone(word: &str) -> Result<Option<TimeZone>, String> {
    if word.eq_ignore_ascii_case("utc") {
        return Ok(Some(TimeZone::UTC));
    }
    let weekday = parse_weekdays(word.trim_end_matches(',')).is_ok();
    if weekday || !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(None);
    }
    TimeZone::get(word).map(Some).map_err(|_| format!("{word:?} is neither a weekday nor a time zone"))
}

fn parse_weekdays(text: &str) -> Result<[bool; 7], String> {
    let index = |name: &str| {
        let name = name.to_ascii_lowercase();
        let found = WEEKDAYS.iter().position(|(short, long)| *short == name || *long == name);
        found.ok_or_else(|| format!("{name:?} is not a weekday"))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (from, to) = match part.split_once("..").or_else(|| part.split_once('-')) {
            Some((from, to)) => (index(from)?, index(to)?),
            None => (index(part)?, index(part)?),
        };
        if to < from {
            return Err(format!("the end of {part:?} is before its start: the week begins with Monday"));
        }
        days[from..=to].fill(true);
    }
    Ok(days)
}

impl Calendar {
    fn set_time(&mut self, text: &str) -> Result<(), String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (hour, minute, second) = match parts.as_slice() {
            [hour, minute] => (hour, minute, &"00"),
            [hour, minute, second] => (hour, minute, second),
            _ => return Err(format!("{text:?} is not a time such as 02:00 or 02:00:30")),
        };
        self.hour = Component::parse(hour, 0, 23)?;
        self.minute = Component::parse(minute, 0, 59)?;
        self.second = Component::parse(second, 0, 59)?;
        Ok(())
    }

    fn set_date(&mut self, text: &str) -> Result<(), String> {
        let (front, last, from_end) = match text.rsplit_once('~') {
            Some((front, day)) => (front, day, true),
            None => match text.rsplit_once('-') {
                Some((front, day)) => (front, day, false),
                None => {
                    return Err(format!(
                        "{text:?} is neither a date such as *-*-01 nor a time such as 02:00"
                    ));
                }
            },
        };
        let (year, month) = front.rsplit_once('-').map_or(("*", front), |(year, month)| (year, month));
        self.year = Component::parse(year, YEARS.0, YEARS.1)?;
        self.month = Component::parse(month, 1, 12)?;
        // systemd accepts only days from the end that every month has.
        self.day = Component::parse(last, 1, if from_end { 28 } else { 31 })?;
        self.from_end = from_end;
        Ok(())
    }

    /// Refuses an expression that matches no day of the calendar, whatever today's date: `*-02-30`, or a date with the wrong
    /// weekday. A date in the past is accepted: a configuration must not become invalid as time passes.
    fn require_a_day(&self) -> Result<(), String> {
        match self.first_days(2).as_slice() {
            [] => {}
            [only] => {
                let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
                return match self.moments(*only, &zone).next() {
                    Some(_) => Ok(()),
                    None => Err(format!("it never occurs: the clock change on {only} skips this time")),
                };
            }
            _ => return Ok(()),
        }
        let any = Self { weekdays: [true; 7], ..self.clone() };
        Err(match any.first_days(2).as_slice() {
            [] => "it never occurs: no month matched by it has that day".to_owned(),
            [only] => format!("it never occurs: {only} is a {}", only.strftime("%A")),
            _ => "it never occurs: none of these dates has that weekday".to_owned(),
        })
    }

    /// The first matching days, at most `count`, in all years that systemd knows.
    fn first_days(&self, count: usize) -> Vec<Date> {
        let mut days = Vec::new();
        for year in (YEARS.0..=YEARS.1).filter(|year| self.year.matches(*year)) {
            for month in (1..=12_i8).filter(|month| self.month.matches((*month).into())) {
                let Some(first) = i16::try_from(year).ok().and_then(|year| Date::new(year, month, 1).ok())
                else {
                    continue;
                };
                let dates = (1..=first.days_in_month()).filter_map(|day| first.with().day(day).build().ok());
                days.extend(dates.filter(|date| self.matches(*date)));
                if days.len() >= count {
                    days.truncate(count);
                    return days;
                }
            }
        }
        days
    }

    /// The first `count` occurrences after `after`; fewer if there are no more.
    pub fn upcoming(&self, after: &Zoned, count: usize) -> Vec<Zoned> {
        std::iter::successors(self.next(after), |moment| self.next(moment)).take(count).collect()
    }

    /// The first occurrence after `after`, if there is one.
    pub fn next(&self, after: &Zoned) -> Option<Zoned> {
        let local = self.local(after);
        let mut date = local.date();
        for _ in 0..MAX_DAYS {
            date = self.next_date(date)?;
            let found = self.moments(date, local.time_zone()).filter(|moment| *moment > local).min();
            if let Some(found) = found {
                return Some(found.with_time_zone(after.time_zone().clone()));
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The last occurrence at or before `until`, if there is one.
    pub fn previous(&self, until: &Zoned) -> Option<Zoned> {
        let local = self.local(until);
        let mut date = local.date();
        for _ in 0..MAX_DAYS {
            if i32::from(date.year()) < YEARS.0 {
                return None;
            }
            if self.matches(date) {
                let found = self.moments(date, local.time_zone()).filter(|moment| *moment <= local).max();
                if let Some(found) = found {
                    return Some(found.with_time_zone(until.time_zone().clone()));
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// The longest interval between two consecutive occurrences around `at`: three days for `Mon..Fri 02:00`.
    pub fn interval(&self, at: &Zoned) -> Option<Duration> {
        let mut moments: Vec<Zoned> = Vec::new();
        let mut before = at.clone();
        for _ in 0..NEIGHBOURS {
            let Some(moment) = self.previous(&before) else { break };
            before = moment.checked_sub(1.second()).ok()?;
            moments.push(moment);
        }
        moments.reverse();
        let mut after = at.clone();
        for _ in 0..NEIGHBOURS {
            let Some(moment) = self.next(&after) else { break };
            moments.push(moment.clone());
            after = moment;
        }
        let gaps = moments.windows(2).map(|pair| pair[0].duration_until(&pair[1]));
        gaps.filter_map(|gap| Duration::try_from(gap).ok()).max()
    }

    fn local(&self, moment: &Zoned) -> Zoned {
        match &self.zone {
            Some(zone) => moment.with_time_zone(zone.clone()),
            None => moment.clone(),
        }
    }

    /// The first matching date at or after `date`.
    fn next_date(&self, mut date: Date) -> Option<Date> {
        for _ in 0..MAX_DAYS {
            let year = i32::from(date.year());
            if year > YEARS.1 {
                return None;
            }
            if !self.year.matches(year) {
                date = Date::new(date.year().checked_add(1)?, 1, 1).ok()?;
            } else if !self.month.matches(date.month().into()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.matches(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn matches(&self, date: Date) -> bool {
        let weekday = match date.weekday() {
            Weekday::Monday => 0,
            Weekday::Tuesday => 1,
            Weekday::Wednesday => 2,
            Weekday::Thursday => 3,
            Weekday::Friday => 4,
            Weekday::Saturday => 5,
            Weekday::Sunday => 6,
        };
        let day = i32::from(date.day());
        let day_matches = if self.from_end {
            self.day.matches_from_end(day, date.days_in_month().into())
        } else {
            self.day.matches(day)
        };
        self.weekdays[weekday]
            && self.year.matches(date.year().into())
            && self.month.matches(date.month().into())
            && day_matches
    }

    /// The occurrences on a date. A time that a clock change skips does not occur that day, as with systemd's timers; of a
    /// time that occurs twice, the first one counts.
    fn moments(&self, date: Date, zone: &TimeZone) -> impl Iterator<Item = Zoned> {
        let zone = zone.clone();
        let (hours, minutes, seconds) =
            (self.hour.within(0, 23), self.minute.within(0, 59), self.second.within(0, 59));
        let mut times = Vec::with_capacity(hours.len() * minutes.len() * seconds.len());
        for hour in &hours {
            for minute in &minutes {
                for second in &seconds {
                    times.push((*hour as i8, *minute as i8, *second as i8));
                }
            }
        }
        times.into_iter().filter_map(move |(hour, minute, second)| {
            let moment = zone.to_ambiguous_zoned(date.at(hour, minute, second, 0));
            match moment.offset() {
                AmbiguousOffset::Gap { .. } => None,
                _ => moment.compatible().ok(),
            }
        })
    }
}
