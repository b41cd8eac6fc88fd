//! Leases that are kept: in PostgreSQL, beside other heads, and while it is away.

use super::desk::{ACK, DECLINE, DISCOVER, Desk, OFFER, REQUEST, mac};
use super::service::{Database, wait};

#[test]
fn with_postgresql_away_who_is_known_or_renews_is_served_and_nobody_else() {
    let database = Database::new();
    let desk = Desk::new(&database);
    let (renewing, new, known) = (mac(1), mac(2), mac(3));
    desk.inventory.set_interface("52:54:00:01:00:03", &["172.16.0.3"]);
    desk.service.wait_known("52:54:00:01:00:03");
    let ip = desk.bind(renewing);
    database.close(true);
    let again = desk.ask(renewing, REQUEST, Some(ip), &[]);
    assert_eq!((again.kind, again.ip), (ACK, ip), "a lease is lent on");
    desk.service.wait_durable(false);
    // They are answered in their order: what comes first is the known machine's.
    desk.send(new, DISCOVER, None, &[]);
    desk.send(known, DISCOVER, None, &[]);
    let first = desk.receive().unwrap();
    assert_eq!((first.kind, first.ip.octets()), (OFFER, [172, 16, 0, 3]));
    let issues = std::fs::read_to_string(desk.service.run_folder().join("dhcp/issues.json")).unwrap();
    assert!(issues.contains("leases-not-kept"), "{issues}");
    assert_eq!(desk.service.count("cannot be kept: new ones get no answer"), 1, "said once");
    database.close(false);
    desk.service.wait_durable(true);
    database.run("do $$ begin assert (select count(*) from lease) = 1; end $$");
    desk.bind(new);
}

#[test]
fn what_another_head_lent_is_not_lent_again() {
    let database = Database::new();
    let desk = Desk::new(&database);
    // All of the range but one, behind this head's back.
    database.run(
        "insert into lease select '172.16.0.200'::inet + n, '02:00:00:00:00:99', now() + interval '1 h'
         from generate_series(0, 50) as n where n <> 25",
    );
    let (began, mut asked) = (std::time::Instant::now(), None);
    let got = loop {
        assert!(began.elapsed() < super::LIMIT, "no address was found");
        desk.send(mac(1), DISCOVER, None, &[]);
        match desk.receive() {
            Some(got) if got.kind == ACK => break got.ip,
            // It is refused without a word, as there is nothing wrong with the client, and then offered another.
            Some(got) if asked != Some(got.ip) => {
                asked = Some(got.ip);
                desk.send(mac(1), REQUEST, None, &[(50, &got.ip.octets())]);
            }
            _ => {}
        }
    };
    assert_eq!(got.octets(), [172, 16, 0, 225]);
}

#[test]
fn a_declined_address_is_lent_to_nobody_even_after_a_restart() {
    let database = Database::new();
    let desk = Desk::new(&database);
    let ip = desk.bind(mac(1));
    desk.send(mac(1), DECLINE, None, &[(50, &ip.octets())]);
    desk.service.wait_for("found another machine at that address");
    desk.service.wait_for(&format!("dhcp-ack: 52:54:00:01:00:01 declined {ip}"));
    assert_ne!(desk.bind(mac(1)), ip);
    let issues = std::fs::read_to_string(desk.service.run_folder().join("dhcp/issues.json")).unwrap();
    assert!(
        issues.contains(&format!("address-in-use/{ip}")) && issues.contains("52:54:00:01:00:01"),
        "{issues}"
    );
    let kept = format!(
        "do $$ begin assert exists (select from lease where address = '{ip}'::inet and mac = '00:00:00:00:00:00'); end $$"
    );
    database.run(&kept);
    let all = wait(desk.service.client.list_leases()).unwrap();
    assert!(all.iter().all(|it| it.ip != ip), "{all:?}");
}
