//! The command lists: a line, its exit status, and what its output has. `BOOTCAMP` is as the bootcamp's text
//! and the command line of its time have them, `PRESENT` as that of today.

/// The files that the lists name.
pub(crate) const FILES: [(&str, &str); 9] = [
    ("n3.yaml", N3),
    ("new.yaml", NEW),
    (
        "bssp.yaml",
        "macs: [ec:e7:a7:05:a1:fc, ec:e7:a7:05:a2:28, ec:e7:a7:05:93:84]
params: root=live:http://172.16.0.254:8080/r ip=dhcp console=ttyS0,115200
kernel: http://172.16.0.254:8080/openchami/rocky/test/vmlinuz
initrd: http://172.16.0.254:8080/openchami/rocky/test/initramfs.img
",
    ),
    (
        "defaults.json",
        r#"{"cluster-name":"demo","base-url":"http://172.16.0.254:8081/cloud-init","short-name":"nid","nid-length":3}"#,
    ),
    (
        "group.yaml",
        "- name: compute
  description: d
  meta-data: {k: v}
  file:
    encoding: plain
    content: |
      ## template: jinja
      #cloud-config
      hostname: {{ ds.meta_data['local-hostname'] }}
",
    ),
    ("inst.json", r#"[{"id":"x1000c1s7b1n0","local-hostname":"special"}]"#),
    (
        "compute.yaml",
        "- name: compute
  cloud-init:
    userdata:
      runcmd: [setenforce 0]
      write_files: [{path: /etc/sysconfig/slurmd, content: 'SLURMD_OPTIONS=--conf-server 172.16.0.254:6817'}]
    metadata: {instance-id: ochami-compute}
",
    ),
    (
        "compute-secure.yaml",
        "- name: compute
  cloud-init:
    userdata: {runcmd: [echo secret]}
    metadata: {instance-id: ochami-compute-secure}
",
    ),
    // A bare map, as the bootcamp's text shows it.
    (
        "x1000c1s7b1n0.yaml",
        "name: x1000c1s7b1n0
cloud-init:
  userdata:
    write_files: [{path: /etc/test123, content: 'blah blah blah but different'}]
  metadata: {instance-id: test}
",
    ),
];

const N3: &str = "nodes:
- {name: nid001, xname: x1000c1s7b1n0, nid: 1, group: compute, bmc_mac: 'c2:77:05:e2:03:48', bmc_ip: 172.16.0.101,
   interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{name: management, ip_addr: 172.16.0.1}]}]}
- {name: nid002, xname: x1000c1s7b2n0, nid: 2, group: compute, bmc_mac: 'c2:77:05:e2:03:49', bmc_ip: 172.16.0.102,
   interfaces: [{mac_addr: 'ec:e7:a7:05:a2:28', ip_addrs: [{name: management, ip_addr: 172.16.0.2}]}]}
- {name: nid003, xname: x1000c1s7b3n0, nid: 3, group: compute, bmc_mac: 'c2:77:05:e2:03:4a', bmc_ip: 172.16.0.103,
   interfaces: [{mac_addr: 'ec:e7:a7:05:93:84', ip_addrs: [{name: management, ip_addr: 172.16.0.3}]}]}
";

const NEW: &str = "bmcs:
- {xname: x1000c1s7b1, mac: 'c2:77:05:e2:03:48', ip: 172.16.0.101}
- {xname: x1000c1s7b2, mac: 'c2:77:05:e2:03:49', ip: 172.16.0.102}
- {xname: x1000c1s7b3, mac: 'c2:77:05:e2:03:4a', ip: 172.16.0.103}
nodes:
- {name: nid001, xname: x1000c1s7b1n0, nid: 1, groups: [compute], bmc: x1000c1s7b1,
   interfaces: [{mac_addr: 'ec:e7:a7:05:a1:fc', ip_addrs: [{name: management, ip_addr: 172.16.0.1}]}]}
- {name: nid002, xname: x1000c1s7b2n0, nid: 2, groups: [compute], bmc: x1000c1s7b2,
   interfaces: [{mac_addr: 'ec:e7:a7:05:a2:28', ip_addrs: [{name: management, ip_addr: 172.16.0.2}]}]}
- {name: nid003, xname: x1000c1s7b3n0, nid: 3, groups: [compute],
   interfaces: [{mac_addr: 'ec:e7:a7:05:93:84', ip_addrs: [{name: management, ip_addr: 172.16.0.3}]}]}
";

pub(crate) const BOOTCAMP: [(&str, i32, &str); 57] = [
    ("--help", 0, "cloud-init"),
    ("version", 0, "Version:"),
    ("config show", 0, "        base-uri: https://127.0.0.1:"),
    ("discover --payload n3.yaml --payload-format yaml", 0, ""),
    ("smd status", 0, r#"{"code":0,"message":"HSM is healthy"}"#),
    (
        "smd component get",
        0,
        r#"{"Enabled":true,"Flag":"OK","ID":"x1000c1s7b1n0","NID":1,"Role":"Compute","State":"On""#,
    ),
    ("smd rfe get", 0, r#""ID":"x1000c1s7b1""#),
    ("smd compep get", 0, r#""ID":"x1000c1s7b1n0""#),
    ("smd iface get", 0, r#""IPAddress":"172.16.0.1""#),
    (
        "smd group get",
        0,
        r#"[{"description":"The compute group","label":"compute","members":{"ids":["x1000c1s7b1n0""#,
    ),
    ("smd component get -x x1000c1s7b1n0", 0, r#""NID":1"#),
    ("smd component get -n 2", 0, "x1000c1s7b2n0"),
    ("smd iface get --mac ec:e7:a7:05:a1:fc --output-format yaml", 0, "- ComponentID: x1000c1s7b1n0\n"),
    ("smd group get --name compute", 0, "compute"),
    ("smd group member get compute", 0, r#"{"ids":["x1000c1s7b1n0","x1000c1s7b2n0","x1000c1s7b3n0"]}"#),
    ("smd compep get x1000c1s7b1n0", 0, "ComputerSystem"),
    ("discover --payload n3.yaml --payload-format yaml --overwrite", 0, ""),
    ("smd component add x1000c1s7b99n0 99", 0, ""),
    ("smd group add -d text -m x1000c1s7b99n0 extra", 0, ""),
    ("smd group get --name extra", 0, r#""description":"text""#),
    ("smd group member add compute x1000c1s7b99n0", 0, ""),
    ("smd group member delete --force compute x1000c1s7b99n0", 0, ""),
    ("smd group update -d other extra", 0, ""),
    ("smd rfe add x1000c1s7b99 bmc99 172.16.0.199 c2:77:05:e2:03:f9", 0, ""),
    ("smd iface add x1000c1s7b99n0 02:00:00:00:00:99 management,172.16.0.99", 0, ""),
    ("smd iface delete --force 02:00:00:00:00:99", 0, ""),
    ("smd rfe delete --force x1000c1s7b99", 0, ""),
    ("smd group delete --force extra", 0, ""),
    ("smd component delete --force x1000c1s7b99n0", 0, ""),
    ("bss status", 0, r#"{"bss-status":"running"}"#),
    ("bss boot params add -f bssp.yaml --payload-format yaml", 0, ""),
    ("bss boot params get", 0, "root=live:http://172.16.0.254:8080/r"),
    ("bss boot params get --mac ec:e7:a7:05:a1:fc", 0, "ec:e7:a7:05:a1:fc"),
    (
        "bss boot params set --mac ec:e7:a7:05:a2:28 --kernel http://h/k --initrd http://h/i --params quiet",
        0,
        "",
    ),
    ("bss boot params update --mac ec:e7:a7:05:a2:28 --params loud", 0, ""),
    (
        "bss boot script get --mac ec:e7:a7:05:a1:fc",
        0,
        "#!ipxe\nkernel --name kernel http://172.16.0.254:8080",
    ),
    ("bss hosts get", 0, r#""ID":"x1000c1s7b1n0""#),
    ("bss dumpstate", 0, "loud"),
    ("bss history", 0, r#""endpoint":"bootscript""#),
    ("bss boot params delete --force --mac ec:e7:a7:05:a2:28", 0, ""),
    ("bss boot params get --mac ec:e7:a7:05:a2:28", 1, ""),
    ("cloud-init config add --payload-format yaml -f compute.yaml", 0, ""),
    ("cloud-init config get", 0, "compute"),
    ("cloud-init config get compute", 0, "ochami-compute"),
    ("cloud-init config update --payload-format yaml --payload compute.yaml", 0, ""),
    ("cloud-init data get compute", 0, "#cloud-config\nruncmd:\n"),
    ("cloud-init data get --user compute", 0, "setenforce 0"),
    ("cloud-init data get --meta compute", 0, "instance-id: ochami-compute\n"),
    ("cloud-init config add --payload-format yaml -f x1000c1s7b1n0.yaml", 0, ""),
    ("cloud-init data get x1000c1s7b1n0", 0, "blah blah blah but different"),
    ("cloud-init data get --meta x1000c1s7b1n0", 0, "instance-id: test\n"),
    ("cloud-init data get x1000c1s7b2n0", 0, "/etc/sysconfig/slurmd"),
    ("cloud-init config delete --force x1000c1s7b1n0", 0, ""),
    ("cloud-init config update --payload-format yaml -f x1000c1s7b1n0.yaml", 1, ""),
    ("cloud-init --secure config add --payload-format yaml -f compute-secure.yaml", 0, ""),
    ("cloud-init --secure data get compute", 0, "echo secret"),
    ("cloud-init --secure config delete --force compute", 0, ""),
];

pub(crate) const PRESENT: [(&str, i32, &str); 75] = [
    ("--version", 0, "ochami version "),
    ("completion bash", 0, "complete"),
    ("smd", 0, "component"),
    ("smd nothing", 1, ""),
    ("smd component get --nothing", 1, ""),
    ("smd component add", 1, ""),
    ("discover static -f yaml -d @n3.yaml", 0, ""),
    ("smd service status", 0, r#"{"code":0,"message":"HSM is healthy"}"#),
    ("smd service status --all", 0, r#""Role":"#),
    ("smd component get", 0, r#""ID":"x1000c1s7b1n0","NID":1,"Role":"Compute","State":"On","Type":"Node"}"#),
    ("smd component get -F yaml", 0, "      Role: Compute\n      State: \"On\"\n      Type: Node\n"),
    ("smd component list -F json-pretty", 0, "{\n  \"Components\": [\n"),
    ("smd rfe get --xname x1000c1s7b1,x1000c1s7b2", 0, r#""ID":"x1000c1s7b2""#),
    ("smd compep get", 0, r#""ID":"x1000c1s7b1n0""#),
    ("smd iface get", 0, r#""IPAddress":"172.16.0.1""#),
    ("smd iface get -i ece7a705a1fc --by-ip", 0, "172.16.0.1"),
    ("smd group get", 0, "compute"),
    ("smd component get -x x1000c1s7b1n0", 0, r#""NID":1"#),
    ("smd component get -x x9c0s0b0n0", 1, ""),
    ("smd component get -n 2", 0, "x1000c1s7b2n0"),
    ("smd iface get --mac ec:e7:a7:05:a1:fc", 0, r#"[{"ComponentID":"x1000c1s7b1n0""#),
    ("smd group get --name compute", 0, "compute"),
    ("smd group membership --id x1000c1s7b1n0", 0, r#""groupLabels":["compute"]"#),
    ("smd group member get compute", 0, r#"{"ids":["x1000c1s7b1n0","x1000c1s7b2n0","x1000c1s7b3n0"]}"#),
    ("discover static --overwrite -f yaml -d @n3.yaml", 0, ""),
    ("smd component add x1000c1s7b99n0 99 --enabled=false", 0, ""),
    ("smd component get -x x1000c1s7b99n0", 0, r#""Enabled":false"#),
    ("smd group add -D text -m x1000c1s7b99n0 extra", 0, ""),
    ("smd group member add compute x1000c1s7b99n0", 0, ""),
    ("smd group member set extra x1000c1s7b1n0", 0, ""),
    ("smd group member delete --no-confirm compute x1000c1s7b99n0", 0, ""),
    ("smd group update -D other extra", 0, ""),
    ("smd rfe add x1000c1s7b99 bmc99 172.16.0.199 c2:77:05:e2:03:f9", 0, ""),
    ("smd iface add x1000c1s7b99n0 02:00:00:00:00:99 management,172.16.0.99", 0, ""),
    ("smd iface delete --no-confirm 02:00:00:00:00:99", 0, ""),
    ("smd rfe delete --no-confirm x1000c1s7b99", 0, ""),
    ("smd group delete --no-confirm extra", 0, ""),
    // Nobody says yes.
    ("smd component delete x1000c1s7b99n0", 0, ""),
    ("smd component delete --no-confirm x1000c1s7b99n0", 0, ""),
    ("bss service status", 0, r#"{"bss-status":"running"}"#),
    ("bss service version", 0, "bss-version"),
    ("bss boot params add -d @bssp.yaml -f yaml", 0, ""),
    ("bss boot params add --mac zz --kernel http://h/k", 1, ""),
    ("bss boot params get --mac ec:e7:a7:05:a1:fc", 0, "ec:e7:a7:05:a1:fc"),
    (
        "bss boot params set --mac ec:e7:a7:05:a2:28 --kernel http://h/k --initrd http://h/i --params quiet",
        0,
        "",
    ),
    ("bss boot params update --mac ec:e7:a7:05:a2:28 --params loud", 0, ""),
    ("bss boot script get --mac ec:e7:a7:05:a1:fc", 0, "root=live:http://172.16.0.254:8080/r"),
    ("bss boot script get", 1, ""),
    ("bss boot image set --mac ec:e7:a7:05:a1:fc http://h/image", 0, ""),
    (
        "bss boot params get --mac ec:e7:a7:05:a1:fc -F yaml",
        0,
        "params: root=http://h/image ip=dhcp console=",
    ),
    ("bss hosts get -x x1000c1s7b1n0", 0, r#""ID":"x1000c1s7b1n0""#),
    ("bss dumpstate", 0, "loud"),
    ("bss history", 0, r#""endpoint":"bootscript""#),
    ("bss boot params delete --no-confirm --mac ec:e7:a7:05:a2:28", 0, ""),
    ("cloud-init service status", 0, "cloud-init is running\n"),
    ("cloud-init service version", 0, "{"),
    ("cloud-init defaults get", 0, ""),
    ("cloud-init defaults set -d @defaults.json", 0, ""),
    ("cloud-init defaults get -F yaml", 0, "cluster-name: demo\n"),
    ("cloud-init group add -f yaml -d @group.yaml", 0, ""),
    ("cloud-init group get raw", 0, r#"[{"description":"d","file":{"#),
    ("cloud-init group get config compute", 0, "## template: jinja\n#cloud-config\n"),
    ("cloud-init group get meta-data compute", 0, r#"[{"meta-data":{"k":"v"},"name":"compute"}]"#),
    ("cloud-init group set -f yaml -d @group.yaml", 0, ""),
    ("cloud-init node set -d @inst.json", 0, ""),
    ("cloud-init group render compute x1000c1s7b1n0", 0, "#cloud-config\nhostname: special"),
    ("cloud-init node get meta-data x1000c1s7b1n0", 0, r#""local-hostname":"special""#),
    ("cloud-init node get user-data x1000c1s7b1n0", 0, "#cloud-config"),
    (
        "cloud-init node get vendor-data x1000c1s7b1n0",
        0,
        "#include\nhttp://172.16.0.254:8081/cloud-init/compute.yaml",
    ),
    (
        "cloud-init node get group x1000c1s7b1n0 compute --headers always",
        0,
        "--- (1/1) node=x1000c1s7b1n0 group=compute\n",
    ),
    ("cloud-init group delete --no-confirm compute", 0, ""),
    ("pcs transition start --xname x1000c1s7b1n0 sideways", 1, ""),
    ("rcs console list", 0, "x1000c1s7b1n0"),
    ("rcs console connect x9c0s0b0n0", 1, ""),
    ("bss boot", 0, "params"),
];
