def test_x(desk):
    assert desk
