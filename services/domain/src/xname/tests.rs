#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Xname, XnameKind};

/// Every kind: a name, what it stands in, and a name of the same shape that no hardware has.
const TABLE: [(&str, &str, &str, &str); 52] = [
    ("s0", "System", "", "s1"),
    ("p1", "Partition", "", "p"),
    ("p1.2", "Partition", "", "p1.2.3"),
    ("sms7", "SMSBox", "", "sms"),
    ("d3", "CDU", "s0", "d"),
    ("d3w1", "CDUMgmtSwitch", "d3", "d3w"),
    ("x1000", "Cabinet", "s0", "x10000"),
    ("x1000b0", "CabinetBMC", "x1000", "x1000b1"),
    ("x1000d1", "CabinetCDU", "x1000", "x1000d2"),
    ("x1000e1", "CEC", "x1000", "x1000e2"),
    ("x1000m3", "CabinetPDUController", "x1000", "x1000m4"),
    ("x1000m3i3", "CabinetPDUNic", "x1000m3", "x1000m3i4"),
    ("x1000m3p7", "CabinetPDU", "x1000m3", "x1000m3p8"),
    ("x1000m3p7j48", "CabinetPDUOutlet", "x1000m3p7", "x1000m3p7j0"),
    ("x1000m3p7v1", "CabinetPDUPowerConnector", "x1000m3p7", "x1000m3p7v0"),
    ("x1000c7", "Chassis", "x1000", "x1000c8"),
    ("x1000c7b0", "ChassisBMC", "x1000c7", "x1000c7b1"),
    ("x1000c7b0i3", "ChassisBMCNic", "x1000c7b0", "x1000c7b0i4"),
    ("x1000c7f0", "CMMFpga", "x1000c7", "x1000c7f1"),
    ("x1000c7t9", "CMMRectifier", "x1000c7", "x1000c7t10"),
    ("x1000c7w32", "MgmtSwitch", "x1000c7", "x1000c7w0"),
    ("x1000c7w32j48", "MgmtSwitchConnector", "x1000c7w32", "x1000c7w32j0"),
    ("x1000c7h33", "MgmtHLSwitchEnclosure", "x1000c7", "x1000c7h0"),
    ("x1000c7h33s9", "MgmtHLSwitch", "x1000c7h33", "x1000c7h33s10"),
    ("x1000c7r63", "RouterModule", "x1000c7", "x1000c7r"),
    ("x1000c7r63b0", "RouterBMC", "x1000c7r63", "x1000c7r63b"),
    ("x1000c7r63b0i3", "RouterBMCNic", "x1000c7r63b0", "x1000c7r63b0i4"),
    ("x1000c7r63f1", "RouterFpga", "x1000c7r63", "x1000c7r63f2"),
    ("x1000c7r63t0", "RouterTOR", "x1000c7r63", "x1000c7r63t"),
    ("x1000c7r63t0f1", "RouterTORFpga", "x1000c7r63t0", "x1000c7r63t0f2"),
    ("x1000c7r63v2", "RouterPowerConnector", "x1000c7r63", "x1000c7r63v3"),
    ("x1000c7r63a3", "HSNAsic", "x1000c7r63", "x1000c7r63a4"),
    ("x1000c7r63a3l63", "HSNLink", "x1000c7r63a3", "x1000c7r63l1"),
    ("x1000c7r63j8", "HSNConnector", "x1000c7r63", "x1000c7r63j0"),
    ("x1000c7r63j8p2", "HSNConnectorPort", "x1000c7r63j8", "x1000c7r63j8p3"),
    ("x1000c7r63e0", "HSNBoard", "x1000c7r63", "x1000c7r63e"),
    ("x1000c7s63", "ComputeModule", "x1000c7", "x1000s63"),
    ("x1000c7s63b1", "NodeBMC", "x1000c7s63", "x1000c7s63b1b1"),
    ("x1000c7s63b1i3", "NodeBMCNic", "x1000c7s63b1", "x1000c7s63b1i4"),
    ("x1000c7s63b1f0", "NodeFpga", "x1000c7s63b1", "x1000c7s63b1f1"),
    ("x1000c7s63e0", "NodeEnclosure", "x1000c7s63", "x1000c7s63e"),
    ("x1000c7s63e0t1", "NodeEnclosurePowerSupply", "x1000c7s63e0", "x1000c7s63t1"),
    ("x1000c7s63v2", "NodePowerConnector", "x1000c7s63", "x1000c7s63v3"),
    ("x1000c7s63b1n3", "Node", "x1000c7s63b1", "x1000c7s63n3"),
    ("x1000c7s63b1n3i3", "NodeNic", "x1000c7s63b1n3", "x1000c7s63b1n3i4"),
    ("x1000c7s63b1n3h3", "NodeHsnNic", "x1000c7s63b1n3", "x1000c7s63b1n3h4"),
    ("x1000c7s63b1n3p3", "Processor", "x1000c7s63b1n3", "x1000c7s63b1n3p4"),
    ("x1000c7s63b1n3d15", "Memory", "x1000c7s63b1n3", "x1000c7s63b1n3d"),
    ("x1000c7s63b1n3a7", "NodeAccel", "x1000c7s63b1n3", "x1000c7s63b1a7"),
    ("x1000c7s63b1n3r7", "NodeAccelRiser", "x1000c7s63b1n3", "x1000c7s63b1n3r8"),
    ("x1000c7s63b1n3g0", "StorageGroup", "x1000c7s63b1n3", "x1000c7s63b1n3q0"),
    ("x1000c7s63b1n3g0k9", "Drive", "x1000c7s63b1n3g0", "x1000c7s63b1n3k9"),
];

fn parse(text: &str) -> Xname {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_kind_has_its_name_its_parent_and_its_limits() {
    for (name, kind, parent, wrong) in TABLE {
        let it = parse(name);
        assert_eq!((it.as_str(), it.kind().name()), (name, kind));
        assert_eq!(it.parent().map(String::from).unwrap_or_default(), parent, "{name}");
        assert_eq!(it.kind().parent(), it.parent().map(|it| it.kind()), "{name}");
        assert_eq!(XnameKind::named(&kind.to_ascii_lowercase()).map(XnameKind::name), Some(kind));
        assert!(wrong.parse::<Xname>().is_err(), "{wrong}");
    }
    for kind in XnameKind::all() {
        assert!(TABLE.iter().any(|it| it.1 == kind), "{kind}");
    }
    assert_eq!(parse("x1c0s0j1").kind().name(), "NodePowerConnector");
}

/// Names of every shape with numbers of all sizes: what is parsed is written back, and each step out is a name whose
/// child is the name again.
#[test]
fn a_name_that_is_parsed_is_the_child_of_its_parent() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut parsed = 0;
    for round in 0..20_000 {
        let shape = TABLE[round % TABLE.len()].0;
        let mut name = String::new();
        for part in shape
            .split_inclusive(|it: char| it.is_ascii_digit())
            .map(|it| it.trim_end_matches(char::is_numeric))
        {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let number = seed >> 33;
            if !part.is_empty() {
                name += &format!("{part}{}", number % [2, 4, 8, 64, 12_345][(seed % 5) as usize]);
            }
        }
        let Ok(it) = name.parse::<Xname>() else { continue };
        parsed += 1;
        assert_eq!(it.to_string(), name);
        assert_eq!(it.to_string().to_ascii_uppercase().parse(), Ok(it.clone()));
        assert!(it.is_within(&it) && it.ancestry().all(|outer| it.is_within(&outer)), "{name}");
        if let Some(outer) = it.parent().filter(|it| it.as_str() != "s0") {
            let letter = it.as_str()[outer.as_str().len()..].chars().next().unwrap();
            assert_eq!(outer.child(letter, it.ordinal()), Ok(it.clone()));
            assert!(!outer.is_within(&it));
            assert_eq!(it.numbers().count(), outer.numbers().count() + 1);
        }
    }
    assert!(parsed > 2000, "{parsed}");
}

#[test]
fn a_name_is_read_in_any_case_with_blanks_and_zeros() {
    for text in ["X1000C1S7B1N0", " x1000c1s7b1n0\n", "x1000c01s007b1n0", "x1000c1s7b1n00"] {
        assert_eq!(parse(text).as_str(), "x1000c1s7b1n0");
    }
    assert_eq!(parse("x0").as_str(), "x0");
    assert_eq!(parse("x1000c1s7b1n0").numbers().collect::<Vec<_>>(), [1000, 1, 7, 1, 0]);
}

#[test]
fn what_is_in_no_table_is_refused() {
    let long = "x9999999999";
    for text in
        ["", "bogus", "x", "x1000c", "1000", "x1000c1s7b1n0q1", "x1.0", "xx1", "xc1", long, "é1", "s0s0"]
    {
        assert!(text.parse::<Xname>().is_err(), "{text}");
    }
    for text in ["x1 c0", "x-1", "x+1", "p.1", "p1.", "x1c0s0b0n1234567890", "sm1s1", "s0m0s0"] {
        assert!(text.parse::<Xname>().is_err(), "{text}");
    }
}

#[test]
fn within_counts_whole_numbers() {
    assert!(parse("x1000c1s7b1n0").is_within(&parse("x1000c1s7b1")));
    assert!(!parse("x1000c1s7b10n0").is_within(&parse("x1000c1s7b1")));
    assert!(parse("x1000c1s7b1n0").is_within(&parse("s0")) && !parse("p1").is_within(&parse("s0")));
    assert!(!parse("p1.2").is_within(&parse("p1")));
}
