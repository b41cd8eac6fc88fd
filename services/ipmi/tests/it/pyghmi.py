"""A BMC of pyghmi's (Debian's python3-pyghmi): power, boot device, and a line that echoes."""
import sys

from pyghmi.ipmi import bmc


class Node(bmc.Bmc):
    power = "off"
    device = "default"

    def get_power_state(self):
        return self.power

    def power_on(self):
        self.power = "on"

    def power_off(self):
        self.power = "off"

    def power_shutdown(self):
        self.power = "off"

    def power_reset(self):
        pass

    def get_boot_device(self):
        return self.device

    def set_boot_device(self, device):
        self.device = device

    def is_active(self):
        return self.power == "on"

    # What comes while the line is being made, before `sol` is set.
    early = b""

    def activate_payload(self, request, session):
        super().activate_payload(request, session)
        if self.sol and self.early:
            self.sol.send_data(self.early)

    def iohandler(self, data):
        if self.sol:
            self.sol.send_data(data)
        elif isinstance(data, bytes):
            self.early += data


port, user, password = sys.argv[1:]
node = Node({user: password}, port=int(port), address="::ffff:127.0.0.1")
print("ready", flush=True)
node.listen()
