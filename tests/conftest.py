"""What all tests share: no window opens, no network is reached, no figure is left behind."""

import ipaddress
import os
import socket
import sys

import pytest

# Read by matplotlib when it is first imported, here and in the processes that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that would fetch something fails, also where the network happens to be up."""
    connect = socket.socket.connect

    def connect_at_home(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_this_machine(address[0]):
            raise OSError(f"a test reached for the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_at_home)


def _is_this_machine(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def closed_figures():
    """Each test starts without figures, and none stays open behind it."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
