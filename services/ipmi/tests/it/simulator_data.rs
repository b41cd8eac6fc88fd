//! What a BMC tells of itself, from `ipmi_sim`, with what `ipmitool` reads beside it.

use ipmi::sel::SelEvent;
use ipmi::sensors::Health;
use ipmi::{BitRate, PrivilegeLevel, Session, Target};

use super::simulator::{PASSWORD, Simulator, USER};
use super::{limited, quick};

async fn open(simulator: &Simulator) -> Session {
    limited(Session::open(&simulator.target(), quick())).await.unwrap()
}

#[tokio::test]
async fn the_log_is_read_and_cleared() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    assert_eq!(limited(session.sel_info()).await.unwrap().entries, 2);
    let entries = limited(session.sel_entries(100)).await.unwrap();
    assert_eq!(entries.len(), 2);
    let first = &entries[0];
    assert!(matches!(first.event, SelEvent::Sensor { kind: 1, number: 1, asserted: true, .. }), "{first:?}");
    assert!(first.to_string().contains("Temperature"), "{first}");
    assert!(matches!(entries[1].event, SelEvent::Oem { record: 0xe0, .. }), "{:?}", entries[1]);
    assert_eq!(limited(session.sel_entries(1)).await.unwrap().len(), 1, "no more than asked for");
    let theirs = limited(simulator.ipmitool("sel list")).await;
    assert!(theirs.contains("Temperature #0x01"), "{theirs}");
    limited(session.clear_sel()).await.unwrap();
    assert!(limited(session.sel_entries(100)).await.unwrap().is_empty());
    assert_eq!(limited(session.sel_info()).await.unwrap().entries, 0);
}

#[tokio::test]
async fn sensors_are_found_and_read() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    let sensors = limited(session.sensors()).await.unwrap();
    assert_eq!(sensors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["CPU Temp"]);
    let sensor = &sensors[0];
    assert_eq!(sensor.unit_name, "°C");
    let reading = limited(session.sensor_reading(sensor)).await.unwrap().unwrap();
    assert_eq!((reading.value, reading.health), (Some(48.0), Some(Health::Ok)));
    let thresholds = limited(session.sensor_thresholds(sensor)).await.unwrap();
    assert_eq!((thresholds.upper_critical, thresholds.upper_non_critical), (Some(144.0), Some(112.0)));
    assert_eq!(thresholds.lower_critical, None);
    let theirs = limited(simulator.ipmitool("sdr list full")).await;
    assert!(theirs.contains("CPU Temp") && theirs.contains("48 degrees C"), "{theirs}");
}

#[tokio::test]
async fn the_inventory_of_a_unit_is_read() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    let fru = limited(session.fru(0)).await.unwrap();
    let board = fru.board.unwrap();
    assert_eq!((board.maker.as_str(), board.name.as_str(), board.serial.as_str()), ("Maker", "Board", "S2"));
    assert!(fru.chassis.is_none());
    let theirs = limited(simulator.ipmitool("fru print 0")).await;
    assert!(theirs.contains("Board Serial          : S2"), "{theirs}");
    let error = limited(session.fru(9)).await.expect_err("there is no unit 9");
    assert!(error.completion().is_some(), "{error}");
}

#[tokio::test]
async fn lan_settings_are_read() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    let settings = limited(session.lan_settings()).await.unwrap();
    let [a, b, c, d, e, f] = settings.mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let theirs = limited(simulator.ipmitool("lan print 1")).await;
    assert!(theirs.contains(&format!("MAC Address             : {mac}")), "{mac}\n{theirs}");
    if let Some(address) = settings.address {
        assert!(theirs.contains(&format!("IP Address              : {address}")), "{address}\n{theirs}");
    }
}

#[tokio::test]
async fn a_password_is_changed_and_the_old_one_is_no_longer_good() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    let users = limited(session.users()).await.unwrap();
    let admin = users.iter().find(|it| it.name == USER).unwrap();
    assert_eq!(admin.id, 2);
    let new = "another-one-12";
    limited(session.set_user_password(admin.id, new)).await.unwrap();
    let target = Target::new(simulator.address, USER, new);
    let other = limited(Session::open(&target, quick())).await.unwrap();
    assert!(limited(other.device_id()).await.is_ok());
    let error = limited(Session::open(&simulator.target(), quick())).await.expect_err("the old one");
    assert!(matches!(error, ipmi::Error::Auth { .. }), "{error}");
    limited(other.set_user_password(admin.id, PASSWORD)).await.unwrap();
    assert!(limited(session.device_id()).await.is_ok(), "a session outlives its password");
}

#[tokio::test]
async fn an_account_is_made() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    limited(session.set_user_name(5, "fresh")).await.unwrap();
    limited(session.set_user_password(5, "made-just-now")).await.unwrap();
    limited(session.set_user_privilege(5, PrivilegeLevel::Operator)).await.unwrap();
    limited(session.set_user_enabled(5, true)).await.unwrap();
    let users = limited(session.users()).await.unwrap();
    let fresh = users.iter().find(|it| it.id == 5).unwrap();
    assert_eq!((fresh.name.as_str(), fresh.privilege), ("fresh", Some(3)));
    let theirs = limited(simulator.ipmitool("user list 1")).await;
    assert!(theirs.contains("fresh"), "{theirs}");
}

#[tokio::test]
async fn the_line_is_set_up() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    limited(session.set_sol_bit_rate(BitRate::B115200)).await.unwrap();
    let settings = limited(session.sol_settings()).await.unwrap();
    assert_eq!((settings.enabled, settings.volatile_bit_rate), (true, Some(BitRate::B115200)));
}
