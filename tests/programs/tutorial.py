import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# The program that a tutorial opens with, written for PyTorch: a classifier of images, trained
# in batches on whatever device is there. tests/test_programs.py runs it as it is, and with
# nothing but the lines above changed.

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)

# Ten kinds of images, each a pattern under noise.
random = np.random.default_rng(0)
patterns = random.random((10, 1, 28, 28), dtype=np.float32)


def make(count):
    labels = random.integers(0, 10, count)
    noise = random.standard_normal((count, 1, 28, 28)).astype(np.float32)
    return TensorDataset(
        torch.from_numpy(patterns[labels] + noise), torch.from_numpy(labels)
    )


train_loader = DataLoader(make(2000), batch_size=64, shuffle=True)
test_loader = DataLoader(make(500), batch_size=100)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(784, 128)
        self.act = nn.ReLU()
        self.out = nn.Linear(128, 10)

    def forward(self, x):
        return self.out(self.act(self.hidden(self.flatten(x))))


def train(model, loader, loss_fn, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    return total / len(loader.dataset)


def test(model, loader, loss_fn):
    model.eval()
    total, right = 0.0, 0.0
    with torch.no_grad():
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            output = model(x)
            total += loss_fn(output, y).item() * x.size(0)
            right += (output.argmax(1) == y).type(torch.float).sum().item()
    return total / len(loader.dataset), right / len(loader.dataset)


model = Net().to(device)
print(model)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    train_loss = train(model, train_loader, loss_fn, optimizer)
    test_loss, accuracy = test(model, test_loader, loss_fn)
    print(f"{epoch + 1}: train {train_loss:.4f}, test {test_loss:.4f}, {accuracy:.1%}")
