//! `JwtGatePlan NAME [rate=RATE] [burst=N] [quota=N/PERIOD]`.

use super::{limit, parse};
use crate::limit::{Numbers, Quota, Rate};

/// A usage plan: numbers in the place of a limit's own. What it leaves out, the limit says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlanDef {
    /// Its name, in claims, API keys and `Require jwt-plan`.
    pub name: String,
    /// How fast.
    pub numbers: Option<Numbers>,
    /// How much in a day, week or month.
    pub quota: Option<Quota>,
}

/// Parses the arguments.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<PlanDef, String> {
    let Some((name, rest)) = words.split_first() else {
        return Err("needs a name: write `JwtGatePlan premium rate=100/s quota=1000000/month`".to_owned());
    };
    let name = parse::name("a plan", name)?;
    let wrong = |text: String| format!("plan `{name}`: {text}");
    let (mut rate, mut burst, mut quota) = (None, None, None);
    for word in rest {
        (|| {
            let (option, value) = parse::option(word)?;
            match option {
                "rate" => parse::set_once(&mut rate, option, value.parse::<Rate>()?),
                "burst" => parse::set_once(&mut burst, option, limit::parse_burst(value)?),
                "quota" => parse::set_once(&mut quota, option, value.parse::<Quota>()?),
                _ => Err(format!("`{option}=` is not an option: use `rate=`, `burst=` and `quota=`")),
            }
        })()
        .map_err(wrong)?;
    }
    let numbers = match (rate, burst) {
        (Some(rate), burst) => Some(Numbers::new(rate, burst).map_err(wrong)?),
        (None, Some(_)) => {
            return Err(wrong("`burst=` needs the rate at which it is refilled: add `rate=`".to_owned()));
        }
        (None, None) => None,
    };
    Ok(PlanDef { name, numbers, quota })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let plan = parse(&["gold", "rate=100/s", "burst=200", "quota=5000/month"]).unwrap();
        assert_eq!(plan.numbers.map(Numbers::burst), Some(200));
        assert_eq!(plan.quota, Some("5000/month".parse().unwrap()));
        assert_eq!(parse(&["free"]).unwrap(), PlanDef { name: "free".to_owned(), numbers: None, quota: None });
    }

    #[test]
    fn mistakes_name_the_plan() {
        for line in [
            "gold rate=0/s",
            "gold rate=1/s burst=0",
            "gold rate=1/s burst=2147483648",
            "gold rate=1/d burst=4000",
            "gold burst=5",
            "gold quota=0/day",
            "gold quota=1/hour",
            "gold rate=1/s rate=2/s",
            "gold key=subject",
            "gold 5/s",
        ] {
            let error = parse(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
            assert!(error.contains("plan `gold`"), "{line}: {error}");
        }
        assert!(parse(&[]).is_err() && parse(&["a b"]).is_err());
    }
}
